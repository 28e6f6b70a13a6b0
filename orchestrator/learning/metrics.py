"""The field's metrics, exact: every threshold that tells two scores apart, ties taken whole.

Two further modes walk a grid of thresholds, as the published numbers were made; saturated scores collapse there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Roc:
    """The corners of a ROC curve, from no object accepted to all of them.

    Attributes:
        false_positives: how many non-lenses are accepted at each threshold, ascending.
        true_positives: how many lenses.
        thresholds: the lowest logit accepted; the first is +inf and accepts nothing.
        half: the score that stands for probability 0.5.
    """

    false_positives: NDArray[np.int64]
    true_positives: NDArray[np.int64]
    thresholds: Floats
    half: float = 0.0

    @property
    def negatives(self) -> int:
        """Non-lenses in all."""
        return int(self.false_positives[-1])

    @property
    def positives(self) -> int:
        """Lenses in all."""
        return int(self.true_positives[-1])

    @property
    def fpr(self) -> Floats:
        """False-positive rate at each threshold; NaN without a non-lens."""
        return _rate(self.false_positives, self.negatives)

    @property
    def tpr(self) -> Floats:
        """True-positive rate at each threshold; NaN without a lens."""
        return _rate(self.true_positives, self.positives)


def roc(labels: ArrayLike, logits: ArrayLike, *, half: float = 0.0) -> Roc:
    """Find the exact ROC curve with one sort.

    Args:
        labels: (n,) 1 a lens, 0 none.
        logits: (n,) higher is more lens-like; float32 or finer, infinities allowed. Probabilities will do, which
            would lose digits as logits.
        half: the score that stands for probability 0.5; of probabilities that is 0.5.

    Raises:
        ValueError: another shape or label, a NaN, or float16, which ties what should be told apart.
    """
    truth, scores = np.asarray(labels), np.asarray(logits)
    if truth.shape != scores.shape or truth.ndim != 1:
        raise ValueError(f"labels {truth.shape} and logits {scores.shape}: two lists of one length are expected")
    if scores.dtype == np.float16:
        raise ValueError("float16 logits tie scores that differ; float32 or finer is expected")
    if not np.isin(truth, (0, 1)).all():
        raise ValueError("labels are 1 for a lens and 0 for none")
    scores = scores.astype(np.float64)
    if np.isnan(scores).any():
        raise ValueError(f"{np.isnan(scores).sum()} of {len(scores)} logits are NaN")
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    true = np.cumsum(truth[order], dtype=np.int64)
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], len(ranked) > 0))  # of each group of ties
    return Roc(
        np.concatenate([[0], last + 1 - true[last]]),
        np.concatenate([[0], true[last]]),
        np.concatenate([[np.inf], ranked[last]]),
        half,
    )


def auc(curve: Roc) -> float:
    """Area under the curve: the chance that a lens scores above a non-lens, ties counting half."""
    both = curve.positives > 0 and curve.negatives > 0
    return float(np.trapezoid(curve.tpr, curve.fpr)) if both else float("nan")


def tpr_at(curve: Roc, allowed: int) -> float:
    """Highest true-positive rate with at most that many false positives; NaN where there is nothing to be one."""
    if not curve.negatives:
        return float("nan")
    return float(curve.tpr[np.searchsorted(curve.false_positives, allowed, side="right") - 1])


def at_half(curve: Roc) -> int:
    """The corner that accepts every probability above 0.5."""
    return int(np.searchsorted(-curve.thresholds, -curve.half, side="left")) - 1


def accuracy(curve: Roc) -> float:
    """Share of right answers at probability 0.5."""
    corner = at_half(curve)
    right = curve.true_positives[corner] + curve.negatives - curve.false_positives[corner]
    total = curve.positives + curve.negatives
    return float(right) / total if total else float("nan")


def cross_entropy(labels: ArrayLike, logits: ArrayLike) -> float:
    """Mean binary cross-entropy, the loss that trainings lower: labels (n,) 1 or 0, logits (n,)."""
    sign = 2 * np.asarray(labels, np.float64) - 1
    return float(np.logaddexp(0, -sign * np.asarray(logits, np.float64)).mean())


METRICS: dict[str, Callable[[Roc], float]] = {
    "auc": auc,
    "tpr": lambda curve: float(curve.tpr[at_half(curve)]),
    "fpr": lambda curve: float(curve.fpr[at_half(curve)]),
    "tpr0": lambda curve: tpr_at(curve, 0),
    "tpr10": lambda curve: tpr_at(curve, 10),
    "accuracy": accuracy,
}
"""Name → function. What cannot be said, such as a rate of no objects, is NaN."""

LOWER_IS_BETTER = frozenset({"fpr", "loss"})


def sign(metric: str) -> int:
    """1 of a metric whose higher values are better, -1 of one whose lower ones are; `val_…` as what it is of."""
    return -1 if metric.removeprefix("val_") in LOWER_IS_BETTER else 1


def measure(labels: ArrayLike, logits: ArrayLike) -> dict[str, float]:
    """All exact metrics of one list of scores."""
    return measure_curve(roc(labels, logits))


def measure_curve(curve: Roc) -> dict[str, float]:
    """All exact metrics of a curve."""
    return {name: metric(curve) for name, metric in METRICS.items()}


GRIDS = {"official-100": 100, "lexactum-1001": 1001}
"""Compatibility mode → number of thresholds, evenly from 0 to 1."""


def measure_on_grid(labels: ArrayLike, probabilities: ArrayLike, mode: str) -> dict[str, float]:
    """AUC, TPR0 and TPR10 the way published numbers were made, to be compared with those alone.

    At each threshold of the grid, probabilities above it are accepted, and below the grid all are; AUC is the
    trapezoid over those points, and TPR0 and TPR10 are the highest rates among them. That the comparison is strict
    and the grid includes both ends is inferred. Source: Metcalf et al. 2019, section 4; LEXACTUM section 3.

    Raises:
        ValueError: what `roc` refuses, or a number outside 0 to 1.
    """
    exact = roc(labels, probabilities)
    if np.any((exact.thresholds[1:] < 0) | (exact.thresholds[1:] > 1)):
        raise ValueError("a grid takes probabilities, from 0 to 1")
    steps = GRIDS[mode] - 1
    grid = np.append(np.arange(steps, -1, -1) / steps, -np.inf)
    corners = np.searchsorted(-exact.thresholds, -grid, side="left") - 1
    walked = Roc(exact.false_positives[corners], exact.true_positives[corners], grid)
    return {"auc": auc(walked), "tpr0": tpr_at(walked, 0), "tpr10": tpr_at(walked, 10)}


def _rate(counts: NDArray[np.int64], total: int) -> Floats:
    return counts / total if total else np.full(len(counts), np.nan)
