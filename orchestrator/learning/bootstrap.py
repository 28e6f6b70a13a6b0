"""Confidence intervals of the metrics, by drawing the test objects anew."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from orchestrator.learning.metrics import METRICS, Roc, measure_curve

Floats = NDArray[np.float64]

RESAMPLES = 2000
LEVEL = 0.95


def intervals(curve: Roc, *, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, tuple[float, float]]:
    """Percentile intervals of every metric at `LEVEL`, by a stratified bootstrap.

    Lenses and non-lenses are drawn with replacement each among themselves, as many as there are, so the share of
    lenses stays. TPR0 and TPR10 hang on the few highest non-lenses, of which a resample repeats or loses some: their
    intervals are wide, and rightly so.

    Args:
        curve: of the scores.
        resamples: how often to draw.
        seed: of the draws.

    Returns:
        Metric → lower and upper limit, NaN where nothing can be said.

    Source: Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapter 13.
    """
    tails = (50 * (1 - LEVEL), 50 * (1 + LEVEL))
    drawn = bootstrap(curve, resamples=resamples, seed=seed)
    # A metric that cannot be said of one resample cannot be said of any: it lacks a class.
    return {
        name: (float(np.percentile(each, tails[0])), float(np.percentile(each, tails[1])))
        for name, each in drawn.items()
    }


def bootstrap(curve: Roc, *, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Floats]:
    """Every metric of every resample: name → (resamples,); see `intervals`."""
    drawn = [measure_curve(each) for each in resampled(curve, resamples, seed)]
    return {name: np.array([each[name] for each in drawn]) for name in METRICS}


def resampled(curve: Roc, resamples: int, seed: int) -> Iterator[Roc]:
    """Yield the exact ROC curves of resamples, on the thresholds of the curve; nothing is sorted again."""
    rng = np.random.default_rng(seed)
    false, true = (_corner_of_each(counts) for counts in (curve.false_positives, curve.true_positives))
    for _ in range(resamples):
        drawn = [
            np.bincount(corners[rng.integers(len(corners), size=len(corners))], minlength=len(curve.thresholds))
            if len(corners)
            else np.zeros(len(curve.thresholds), dtype=np.int64)
            for corners in (false, true)
        ]
        yield Roc(np.cumsum(drawn[0]), np.cumsum(drawn[1]), curve.thresholds, curve.half)


def _corner_of_each(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """The corner at which each object is first accepted, from how many are accepted at each corner."""
    return np.repeat(np.arange(1, len(counts)), np.diff(counts))
