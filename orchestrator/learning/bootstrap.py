"""Confidence intervals of the metrics, by drawing the test objects anew."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from orchestrator.learning.metrics import METRICS, Roc, measure_curve, roc

Floats = NDArray[np.float64]
Corners = NDArray[np.int64]

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
    # A metric that cannot be said of one resample cannot be said of any: it lacks a class.
    return {name: interval(each) for name, each in bootstrap(curve, resamples=resamples, seed=seed).items()}


def bootstrap(curve: Roc, *, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Floats]:
    """Every metric of every resample: name → (resamples,); see `intervals`."""
    drawn = [measure_curve(each) for each in resampled(curve, resamples, seed)]
    return {name: np.array([each[name] for each in drawn]) for name in METRICS}


def paired_differences(
    labels: ArrayLike,
    one: ArrayLike,
    other: ArrayLike,
    *,
    halves: tuple[float, float] = (0.0, 0.0),
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Floats]:
    """Every metric of the other scores less that of the ones, for the same objects drawn anew: name → (resamples,).

    What is hard or easy for both cancels, so that far smaller differences show than two intervals could tell apart.

    Args:
        labels: (n,) 1 a lens, 0 none.
        one: (n,) logits of one network.
        other: (n,) logits of the other, of the same objects.
        halves: the scores that stand for probability 0.5 in each.
        resamples: how often to draw.
        seed: of the draws.
    """
    truth = np.asarray(labels)
    curves, corners = [], []
    for scores, half in zip((np.asarray(one, np.float64), np.asarray(other, np.float64)), halves, strict=True):
        curve = roc(truth, scores, half=half)
        accepted = np.searchsorted(-curve.thresholds, -scores, side="right") - 1
        curves.append(curve)
        corners.append((accepted[truth == 0], accepted[truth == 1]))
    drawn = [[measure_curve(each) for each in both] for both in _resampled(curves, corners, resamples, seed)]
    return {name: np.array([after[name] - before[name] for before, after in drawn]) for name in METRICS}


def interval(values: Floats) -> tuple[float, float]:
    """The percentile interval of what was drawn, at `LEVEL`."""
    low, high = np.percentile(values, (50 * (1 - LEVEL), 50 * (1 + LEVEL)))
    return float(low), float(high)


def resampled(curve: Roc, resamples: int, seed: int) -> Iterator[Roc]:
    """Yield the exact ROC curves of resamples, on the thresholds of the curve; nothing is sorted again."""
    corners = (_corner_of_each(curve.false_positives), _corner_of_each(curve.true_positives))
    for (each,) in _resampled([curve], [corners], resamples, seed):
        yield each


def _resampled(
    curves: Sequence[Roc], corners: Sequence[tuple[Corners, Corners]], resamples: int, seed: int
) -> Iterator[list[Roc]]:
    """Draw the same objects for all curves; `corners` says where each non-lens and each lens is first accepted."""
    rng = np.random.default_rng(seed)
    for _ in range(resamples):
        drawn = [rng.integers(len(each), size=len(each)) if len(each) else each for each in corners[0]]
        yield [_redrawn(curve, both, drawn) for curve, both in zip(curves, corners, strict=True)]


def _redrawn(curve: Roc, corners: tuple[Corners, Corners], drawn: Sequence[Corners]) -> Roc:
    false, true = (
        np.cumsum(np.bincount(each[which], minlength=len(curve.thresholds)))
        for each, which in zip(corners, drawn, strict=True)
    )
    return Roc(false, true, curve.thresholds, curve.half)


def _corner_of_each(counts: NDArray[np.int64]) -> Corners:
    """The corner at which each object is first accepted, from how many are accepted at each corner."""
    return np.repeat(np.arange(1, len(counts)), np.diff(counts))
