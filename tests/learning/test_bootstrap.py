"""Confidence intervals hold what they promise."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from orchestrator.learning.bootstrap import bootstrap, interval, intervals, paired_differences, resampled
from orchestrator.learning.metrics import roc


def scores(lenses: int, others: int, seed: int, *, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.repeat([1, 0], [lenses, others])
    logits = rng.normal(labels * 1.5)
    return labels, np.round(logits, 1) if ties else logits


@pytest.mark.parametrize("ties", [False, True])
def test_a_resample_is_a_curve_of_objects_drawn_with_replacement(ties: bool) -> None:
    labels, logits = scores(60, 90, 0, ties=ties)
    whole = roc(labels, logits)
    repeated = list(resampled(whole, 50, 1))
    assert {(each.positives, each.negatives) for each in repeated} == {(60, 90)}
    for each in repeated:
        drawn_true, drawn_false = np.diff(each.true_positives), np.diff(each.false_positives)
        drawn = np.repeat(each.thresholds[1:], drawn_true), np.repeat(each.thresholds[1:], drawn_false)
        assert np.isin(drawn[0], logits[labels == 1]).all()
        assert np.isin(drawn[1], logits[labels == 0]).all()
        again = roc(np.repeat([1, 0], [60, 90]), np.concatenate(drawn))
        expected = roc_auc_score(np.repeat([1, 0], [60, 90]), np.concatenate(drawn))
        assert np.trapezoid(each.tpr, each.fpr) == pytest.approx(expected)
        assert np.trapezoid(again.tpr, again.fpr) == pytest.approx(expected)


def test_an_object_is_left_out_of_a_resample_as_often_as_chance_has_it() -> None:
    labels, logits = scores(60, 90, 0)
    of_others = ~np.isin(roc(labels, logits).thresholds[1:], logits[labels == 1])
    left_out = [
        (np.diff(each.false_positives)[of_others] == 0).mean() for each in resampled(roc(labels, logits), 400, 2)
    ]
    assert np.mean(left_out) == pytest.approx((1 - 1 / 90) ** 90, abs=0.01)


def test_the_interval_of_a_rate_is_that_of_a_binomial_law() -> None:
    labels, logits = scores(400, 400, 3)
    low, high = intervals(roc(labels, logits), resamples=4000)["tpr"]
    rate = float((logits[labels == 1] > 0).mean())
    expected = stats.binom(400, rate).ppf([0.025, 0.975]) / 400
    assert (low, high) == pytest.approx(expected, abs=0.004)


def test_the_spread_of_the_auc_is_that_over_fresh_samples() -> None:
    fresh = np.std([roc_auc_score(*scores(150, 150, seed)) for seed in range(400)])
    labels, logits = scores(150, 150, 1000)
    assert np.std(bootstrap(roc(labels, logits))["auc"]) == pytest.approx(fresh, rel=0.25)


def test_the_same_seed_gives_the_same_interval_and_another_a_near_one() -> None:
    labels, logits = scores(200, 200, 5)
    first = intervals(roc(labels, logits), seed=1)
    assert intervals(roc(labels, logits), seed=1) == first
    other = intervals(roc(labels, logits), seed=2)
    assert other != first
    assert other["auc"] == pytest.approx(first["auc"], abs=0.01)


def test_without_one_class_nothing_can_be_said() -> None:
    with np.errstate(invalid="ignore"):
        found = intervals(roc([1, 1, 1], [0.1, 0.2, -0.3]), resamples=20)
    assert np.isnan(found["auc"]).all()
    assert np.isfinite(found["tpr"]).all()


def test_paired_differences_are_those_of_metrics_of_the_same_resampled_objects() -> None:
    labels, one = scores(40, 60, 3, ties=True)
    other = np.round(one + np.random.default_rng(4).normal(0, 0.5, len(one)), 1)
    found = paired_differences(labels, one, other, resamples=30, seed=5)
    rng = np.random.default_rng(5)
    for number in range(30):
        drawn = [
            rows[rng.integers(len(rows), size=len(rows))] for rows in map(np.flatnonzero, (labels == 0, labels == 1))
        ]
        rows = np.concatenate(drawn)
        expected = roc_auc_score(labels[rows], other[rows]) - roc_auc_score(labels[rows], one[rows])
        assert found["auc"][number] == pytest.approx(expected)
        at_half = (other[drawn[1]] > 0).mean() - (one[drawn[1]] > 0).mean()
        assert found["tpr"][number] == pytest.approx(at_half)


def test_scores_paired_with_themselves_differ_in_nothing() -> None:
    labels, logits = scores(40, 60, 3)
    logits[:2] = np.inf, -np.inf
    assert all((each == 0).all() for each in paired_differences(labels, logits, logits, resamples=50).values())


def test_equal_networks_are_told_apart_as_rarely_as_the_level_promises() -> None:
    wrong = 0
    for seed in range(100):
        labels, common = scores(80, 80, seed)
        one, other = (common + np.random.default_rng(1000 + 2 * seed + n).normal(0, 0.7, 160) for n in (0, 1))
        low, high = interval(paired_differences(labels, one, other, resamples=400)["auc"])
        wrong += not low <= 0 <= high
    assert wrong <= 10  # 5 are expected; more than 10 come once in a hundred times


def test_probabilities_are_paired_by_their_own_half() -> None:
    labels, logits = scores(40, 60, 3)
    probabilities = 1 / (1 + np.exp(-logits))
    found = paired_differences(labels, logits, probabilities, halves=(0.0, 0.5), resamples=50)
    assert all((each == 0).all() for each in found.values())
