"""The gate: noise does not pass it, and what is better does."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from orchestrator.learning.bootstrap import interval, paired_differences
from orchestrator.learning.gate import Gate, metric_checks

Floats = NDArray[np.float64]


def passes(labels: NDArray[np.int64], champion: Floats, candidate: Floats, gate: Gate) -> bool:
    drawn = paired_differences(labels, champion, candidate, resamples=300)
    return all(each.passed for each in metric_checks(gate, {name: interval(each) for name, each in drawn.items()}))


def scores(rng: np.random.Generator, labels: NDArray[np.int64], shared: Floats, separation: float) -> Floats:
    """Of a model that shares most of its noise with others: some objects are hard for all."""
    return separation * labels + shared + 0.5 * rng.normal(size=len(labels))


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
    plain, better = (scores(rng, labels, shared, separation) for separation in (1.2, 2.0))
    assert passes(labels, plain, better, Gate())
    assert not passes(labels, better, plain, Gate())
    assert not passes(labels, plain, plain, Gate())


def test_what_is_gained_in_one_metric_is_not_paid_with_another() -> None:
    rng = np.random.default_rng(2)
    labels = np.repeat([1, 0], 400)
    champion = 2.0 * labels + rng.normal(size=800)
    candidate = 3.0 * labels + rng.normal(size=800)
    candidate[np.flatnonzero(labels == 0)[:40]] += 20  # bright non-lenses on top of everything
    checks = {
        each.what: each.passed
        for each in metric_checks(
            Gate(maximise="auc"),
            {
                name: interval(each)
                for name, each in paired_differences(labels, champion, candidate, resamples=300).items()
            },
        )
    }
    assert not checks["tpr10 not worse beyond noise"]
    assert not checks["tpr0 not worse beyond noise"]


def test_of_a_metric_of_which_less_is_better_less_passes() -> None:
    intervals = {"fpr": (-0.2, -0.1), "tpr0": (-0.1, 0.1), "tpr10": (0.0, 0.0)}
    gate = Gate(maximise="fpr")
    assert all(each.passed for each in metric_checks(gate, intervals))
    assert not next(metric_checks(gate, {**intervals, "fpr": (0.1, 0.2)})).passed


def test_a_metric_that_there_is_not_is_refused_by_name() -> None:
    with pytest.raises(ValidationError, match="no metric 'aucc': did you mean 'auc'"):
        Gate(maximise="aucc")
