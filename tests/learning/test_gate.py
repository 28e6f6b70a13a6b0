"""The gate: noise does not pass it, and what is better does."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from orchestrator.learning.bootstrap import paired_intervals
from orchestrator.learning.gate import Gate, metric_checks
from orchestrator.learning.metrics import measure

Floats = NDArray[np.float64]


def passes(labels: NDArray[np.int64], champion: Floats, candidate: Floats, gate: Gate) -> bool:
    found = paired_intervals(labels, champion, candidate, resamples=300)
    return all(each.passed for each in metric_checks(gate, found))


def scores(rng: np.random.Generator, labels: NDArray[np.int64], shared: Floats, separation: float) -> Floats:
    """Of a model that shares most of its noise with others: some objects are hard for all."""
    return separation * labels + shared + 0.5 * rng.normal(size=len(labels))


@pytest.mark.slow
def test_of_two_hundred_equal_models_at_most_one_in_twenty_is_promoted() -> None:
    promoted = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        labels = (rng.random(300) < 0.4).astype(np.int64)
        shared = rng.normal(size=300)
        promoted += passes(labels, *(scores(rng, labels, shared, 1.5) for _ in range(2)), Gate())  # type: ignore[misc]
    assert promoted <= 10


def test_a_better_model_is_promoted_and_a_worse_one_never() -> None:
    rng = np.random.default_rng(1)
    labels = (rng.random(1500) < 0.4).astype(np.int64)
    shared = rng.normal(size=1500)
    plain, better = (scores(rng, labels, shared, separation) for separation in (1.2, 2.5))
    assert passes(labels, plain, better, Gate())
    assert not passes(labels, better, plain, Gate())
    assert not passes(labels, plain, plain, Gate())


def test_what_is_gained_in_one_metric_is_not_paid_with_another() -> None:
    rng = np.random.default_rng(2)
    labels = np.repeat([1, 0], 400)
    champion = 2.0 * labels + rng.normal(size=800)
    candidate = 4.0 * labels + rng.normal(size=800)
    candidate[np.flatnonzero(labels == 0)[:11]] += 20  # bright non-lenses on top of everything
    gate = Gate(not_worse=["tpr10"])
    found = metric_checks(gate, paired_intervals(labels, champion, candidate, resamples=300))
    checks = {each.what: each.passed for each in found}
    assert checks["auc better beyond noise"]
    assert not checks["tpr10 not worse by 0.1 or more"]


def test_of_a_metric_of_which_less_is_better_less_passes() -> None:
    intervals = {"fpr": (-0.2, -0.1), "tpr0": (-0.1, 0.1), "tpr10": (0.0, 0.0)}
    gate = Gate(maximise="fpr")
    assert all(each.passed for each in metric_checks(gate, intervals))
    _, guarded = metric_checks(Gate(not_worse=["fpr"]), {"auc": (0.1, 0.2), "fpr": (-0.1, 0.04)})
    assert guarded.passed
    _, guarded = metric_checks(Gate(not_worse=["fpr"]), {"auc": (0.1, 0.2), "fpr": (-0.1, 0.06)})
    assert not guarded.passed
    assert not next(metric_checks(gate, {**intervals, "fpr": (0.1, 0.2)})).passed


def test_a_metric_that_there_is_not_is_refused_by_name() -> None:
    with pytest.raises(ValidationError, match="no metric 'aucc': did you mean 'auc'"):
        Gate(maximise="aucc")


@pytest.mark.slow
def test_a_model_worse_by_the_margin_passes_as_not_worse_at_most_once_in_twenty() -> None:
    rng = np.random.default_rng(3)
    labels = np.repeat([1, 0], [300, 300])

    def both() -> list[Floats]:
        shared = rng.normal(size=600)
        return [scores(rng, labels, shared, separation) for separation in (2.0, 1.6)]

    sets = [[measure(labels, each)["tpr10"] for each in both()] for _ in range(1000)]
    margin = float(np.mean([champion - candidate for champion, candidate in sets]))
    gate = Gate(maximise="auc", not_worse=["tpr10"], margins={"tpr10": margin})
    passed = 0
    for _ in range(200):
        *_, guarded = metric_checks(gate, paired_intervals(labels, *both(), resamples=300))
        passed += guarded.passed
    assert passed <= 10


def test_ten_objects_do_not_show_that_a_model_is_no_worse() -> None:
    rng = np.random.default_rng(4)
    labels = np.repeat([1, 0], 10)
    champion, candidate = (2 * labels + rng.normal(size=20) for _ in range(2))
    gate = Gate(not_worse=["tpr", "tpr10"])
    _, rate, tail = metric_checks(gate, paired_intervals(labels, champion, candidate))
    assert (rate.passed, tail.passed) == (False, False)
    assert rate.told.endswith("too few objects to tell")
    assert tail.told == "too few objects to tell"


def test_an_equal_model_is_no_worse_where_there_are_objects_enough() -> None:
    rng = np.random.default_rng(5)
    labels = np.repeat([1, 0], 4000)
    shared = rng.normal(size=8000)
    champion, candidate = (scores(rng, labels, shared, 2.0) for _ in range(2))
    found = paired_intervals(labels, champion, candidate)
    _, *guarded = metric_checks(Gate(not_worse=["auc", "tpr10"], margins={"tpr10": 0.15}), found)
    assert [(each.what, each.passed) for each in guarded] == [("tpr10 not worse by 0.15 or more", True)]
    *_, ranking = metric_checks(Gate(maximise="tpr", not_worse=["auc"]), found)
    assert (ranking.what, ranking.passed) == ("auc not worse by 0.01 or more", True)


def test_margins_are_shares_of_known_metrics_and_a_stored_gate_of_before_still_opens() -> None:
    for wrong in ({"tpr": 0.0}, {"tpr": 1.0}, {"tprr": 0.1}):
        with pytest.raises(ValidationError, match="margins"):
            Gate.model_validate({"margins": wrong})
    before = {"maximise": "auc", "not_worse": ["tpr0", "tpr10"], "times_slower": 50.0}
    assert Gate.model_validate(before).not_worse == ["tpr0", "tpr10"]
