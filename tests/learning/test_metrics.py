"""The metrics against counting by hand and against scikit-learn."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, roc_auc_score, roc_curve

from orchestrator.learning.metrics import METRICS, auc, measure, measure_on_grid, roc, tpr_at

Scored = tuple[list[int], list[float]]

# Whole numbers tie often; finer ones seldom; saturated networks give infinities.
LOGITS = st.one_of(st.integers(-3, 3).map(float), st.floats(allow_nan=False), st.sampled_from([math.inf, -math.inf]))
ANY = st.lists(st.tuples(st.integers(0, 1), LOGITS), max_size=40).map(lambda pairs: tuple(map(list, zip(*pairs))))  # noqa: B905
BOTH = ANY.filter(lambda scored: bool(scored) and len(set(scored[0])) == 2)


def lenses(scored: Scored) -> list[float]:
    return [logit for label, logit in zip(*scored, strict=True) if label == 1]


def others(scored: Scored) -> list[float]:
    return [logit for label, logit in zip(*scored, strict=True) if label == 0]


@given(BOTH)
def test_auc_is_the_chance_that_a_lens_scores_above_another_ties_counting_half(scored: Scored) -> None:
    wins = [(a > b) + (a == b) / 2 for a in lenses(scored) for b in others(scored)]
    assert measure(*scored)["auc"] == pytest.approx(sum(wins) / len(wins), abs=1e-12)


@given(BOTH, st.integers(0, 12))
def test_the_rate_at_allowed_false_positives_is_the_best_over_all_thresholds(scored: Scored, allowed: int) -> None:
    found, false = lenses(scored), others(scored)
    rates = [0.0]
    for threshold in scored[1]:
        if sum(logit >= threshold for logit in false) <= allowed:
            rates.append(sum(logit >= threshold for logit in found) / len(found))
    assert tpr_at(roc(*scored), allowed) == max(rates)
    if allowed in (0, 10):
        assert measure(*scored)[f"tpr{allowed}"] == max(rates)


@given(BOTH)
def test_rates_at_one_half_accept_probabilities_above_it(scored: Scored) -> None:
    measured = measure(*scored)
    assert measured["tpr"] == np.mean([logit > 0 for logit in lenses(scored)])
    assert measured["fpr"] == np.mean([logit > 0 for logit in others(scored)])
    assert measured["accuracy"] == accuracy_score(scored[0], [logit > 0 for logit in scored[1]])


@given(BOTH)
@pytest.mark.slow
def test_the_curve_is_that_of_scikit_learn(scored: Scored) -> None:
    # scikit-learn takes no infinities; ranks are all that counts.
    ranks = np.unique(scored[1], return_inverse=True)[1]
    fpr, tpr, _ = roc_curve(scored[0], ranks, drop_intermediate=False)
    curve = roc(*scored)
    np.testing.assert_allclose(curve.fpr, fpr, atol=1e-15)
    np.testing.assert_allclose(curve.tpr, tpr, atol=1e-15)
    assert auc(curve) == pytest.approx(roc_auc_score(scored[0], ranks), abs=1e-12)


@given(BOTH)
def test_each_corner_counts_what_its_threshold_accepts(scored: Scored) -> None:
    curve = roc(*scored)
    assert (curve.negatives, curve.positives) == (len(others(scored)), len(lenses(scored)))
    corners = list(zip(curve.thresholds, curve.false_positives, curve.true_positives, strict=True))
    assert corners[0] == (math.inf, 0, 0)
    assert [corner[0] for corner in corners[1:]] == sorted(set(scored[1]), reverse=True)
    for threshold, false, true in corners[1:]:
        assert false == sum(logit >= threshold for logit in others(scored))
        assert true == sum(logit >= threshold for logit in lenses(scored))


@given(BOTH, st.randoms())
def test_the_order_of_the_objects_does_not_matter(scored: Scored, random: object) -> None:
    pairs = list(zip(*scored, strict=True))
    random.shuffle(pairs)
    labels, logits = zip(*pairs, strict=True)
    assert measure(labels, logits) == measure(*scored)


def test_a_hand_counted_example() -> None:
    labels = [1, 1, 0, 1, 0, 0]
    logits = [3.0, 2.0, 2.0, 0.5, 0.0, -1.0]
    expected = {"auc": 7.5 / 9, "tpr": 1.0, "fpr": 1 / 3, "tpr0": 1 / 3, "tpr10": 1.0, "accuracy": 5 / 6}
    assert measure(labels, logits) == pytest.approx(expected)


def test_what_cannot_be_said_is_nan() -> None:
    for labels in ([], [1, 1], [0, 0]):
        measured = measure(labels, np.arange(len(labels), dtype=float))
        assert math.isnan(measured["auc"])
        assert math.isnan(measured["tpr0"])
        assert math.isnan(measured["tpr"]) == (1 not in labels)
        assert math.isnan(measured["fpr"]) == (0 not in labels)


@pytest.mark.parametrize("kind", [np.int8, np.int64, np.bool_, np.float64])
def test_labels_may_be_of_any_type(kind: type) -> None:
    labels = np.array([1, 0, 1, 0])
    assert measure(labels.astype(kind), np.arange(4.0)) == measure(labels, np.arange(4.0))


@pytest.mark.parametrize(
    ("labels", "logits", "complaint"),
    [
        ([1, 0], [1.0], "one length"),
        ([[1, 0]], [[1.0, 0.0]], "one length"),
        ([1, -1], [1.0, 0.0], "1 for a lens and 0 for none"),
        ([1, 0], [1.0, math.nan], "1 of 2 logits are NaN"),
        ([1, 0], np.array([1, 0], np.float16), "float16"),
    ],
)
@pytest.mark.parametrize("function", [roc, measure, partial(measure_on_grid, mode="official-100")])
def test_what_is_no_list_of_scores_is_refused(
    function: Callable[..., object], labels: object, logits: object, complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        function(labels, logits)


@pytest.mark.parametrize("score", [-0.1, 1.1, math.inf])
def test_a_grid_takes_probabilities_alone(score: float) -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        measure_on_grid([1, 0], [score, 0.5], "official-100")


def test_logits_keep_apart_what_saturated_probabilities_tie() -> None:
    logits = np.array([60.0, 55.0, 50.0, 45.0])
    labels = [1, 1, 0, 0]
    probabilities = 1 / (1 + np.exp(-logits.astype(np.float32)))
    assert measure(labels, logits)["tpr0"] == 1.0
    assert measure(labels, probabilities)["tpr0"] == 0.0
    assert measure_on_grid(labels, probabilities, "lexactum-1001") == {"auc": 0.5, "tpr0": 0.0, "tpr10": 1.0}


@pytest.mark.parametrize(("mode", "steps"), [("official-100", 100), ("lexactum-1001", 1001)])
@pytest.mark.parametrize("digits", [2, 3, 8])
def test_a_grid_mode_is_a_walk_over_its_thresholds(mode: str, steps: int, digits: int) -> None:
    random = np.random.default_rng(digits)
    labels = random.integers(0, 2, 200)
    probabilities = np.clip(random.beta(0.4, 0.4, 200) + 0.1 * labels, 0, 1).round(digits)
    points = []
    for step in range(steps):
        true = false = 0
        for label, probability in zip(labels, probabilities, strict=True):
            if probability > step / (steps - 1):
                true += label
                false += 1 - label
        points.append((false, true))
    points.append((int((labels == 0).sum()), int((labels == 1).sum())))
    points.sort()
    area = sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in itertools.pairwise(points))
    everything = points[-1]
    measured = measure_on_grid(labels, probabilities, mode)
    assert measured["auc"] == pytest.approx(area / everything[0] / everything[1], abs=1e-12)
    for allowed in (0, 10):
        best = max(true for false, true in points if false <= allowed)
        assert measured[f"tpr{allowed}"] == pytest.approx(best / everything[1], abs=1e-12)


def test_a_grid_agrees_with_the_exact_metrics_where_it_tells_all_scores_apart() -> None:
    random = np.random.default_rng(1)
    labels = random.integers(0, 2, 100)
    probabilities = (random.permutation(1000)[:100] + 0.5) / 1000
    exact = measure(labels, probabilities)
    for name, value in measure_on_grid(labels, probabilities, "lexactum-1001").items():
        assert value == pytest.approx(exact[name], abs=1e-12)


def test_every_metric_is_one_function_of_the_curve() -> None:
    curve = roc([1, 0, 1, 0], [2.0, 1.0, 0.5, -1.0])
    assert measure([1, 0, 1, 0], [2.0, 1.0, 0.5, -1.0]) == {name: metric(curve) for name, metric in METRICS.items()}
