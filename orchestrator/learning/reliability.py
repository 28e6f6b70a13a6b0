"""How far probabilities can be believed: of what is called a lens with 70 %, 70 % should be lenses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.learning.bootstrap import LEVEL, Limits, share

Floats = NDArray[np.float64]
Labels = NDArray[np.int8]

BINS = 15
"""Of the calibration error and of the diagram; as many as Guo et al. 2017 have."""

SUREST = 1e-15
"""What a probability of 0 or 1 counts as in the log loss, which would be infinite."""


@dataclass(frozen=True)
class Bin:
    """Objects of about one probability: their mean, the share of lenses among them, and its exact interval."""

    objects: int
    probability: float
    lenses: float
    lowest: float
    highest: float


def measure(labels: Labels, probabilities: Floats) -> dict[str, float]:
    """Three measures of labels (n,), 1 a lens and 0 none, and probabilities (n,); lower is better in all.

    ``brier`` is the mean of (p - y)², ``log_loss`` that of -log of the probability given to what it is, ``ece`` the
    expected calibration error: with `BINS` bins of equal width, closed above, the mean over all objects of
    | mean p - share of lenses | of the object's bin.

    Source: Brier 1950; Guo et al. 2017, equations 2 and 3, where p is that of the class predicted, here that of a lens.
    """
    error = probabilities - labels
    return {
        "brier": float(np.mean(error**2)),
        "ece": float(np.abs(np.bincount(_bin(probabilities), error, BINS)).sum() / len(labels)),
        "log_loss": float(-np.log(_given(labels, probabilities)).mean()),
    }


def differences(labels: Labels, before: Floats, after: Floats, *, level: float = LEVEL) -> dict[str, Limits]:
    """The interval of the Brier score, after less before, for the same objects.

    It is a mean over objects: Student's t tells, class by class. A few objects that are called wrongly with confidence
    may decide it, and there may be none among them: each class counts one more, for which the change is as far from the
    mean as it is of any object of either class, taken for one of that class. The other measures have no interval that
    holds what it says: the log loss of such objects has no bound, and the calibration error grows with the noise in
    its bins.
    """
    from scipy.stats import t

    variance = 0.0
    fewest = len(labels)
    for label in (0, 1):
        changes = (after - label) ** 2 - (before - label) ** 2
        own = changes[labels == label]
        if len(own) < 2:
            return {}
        farthest = np.abs(changes - own.mean()).max()
        spread = ((own - own.mean()) ** 2).sum() + farthest**2
        variance += len(own) * spread / (len(own) - 1) / len(labels) ** 2
        fewest = min(fewest, len(own))
    change = float(np.mean((after - labels) ** 2 - (before - labels) ** 2))
    half = float(t.ppf((1 + level) / 2, fewest - 1) * np.sqrt(variance))
    return {"brier": (change - half, change + half)}


def bins(labels: Labels, probabilities: Floats) -> list[Bin]:
    """The points of a reliability diagram: the bins of the calibration error that hold anything."""
    which, found = _bin(probabilities), []
    for number in np.unique(which):
        here = which == number
        objects, lenses = int(here.sum()), int(labels[here].sum())
        mean = float(probabilities[here].mean())
        found.append(Bin(objects, mean, lenses / objects, *share(lenses, objects)))
    return found


def _bin(probabilities: Floats) -> NDArray[np.intp]:
    """Which of `BINS` each is in, from 0."""
    edges = np.arange(1, BINS) / BINS
    return np.searchsorted(edges, probabilities, side="left")


def _given(labels: Labels, probabilities: Floats) -> Floats:
    """The probability given to what each is."""
    given: Floats = np.clip(np.where(labels == 1, probabilities, 1 - probabilities), SUREST, 1)
    return given
