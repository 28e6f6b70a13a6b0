"""How far probabilities can be believed: of what is called a lens with 70 %, 70 % should be lenses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.learning.bootstrap import RESAMPLES
from orchestrator.learning.completeness import wilson

Floats = NDArray[np.float64]
Labels = NDArray[np.int8]

BINS = 15
"""Of the calibration error and of the diagram; as many as Guo et al. 2017 have."""

SUREST = 1e-15
"""What a probability of 0 or 1 counts as in the log loss, which would be infinite."""


@dataclass(frozen=True)
class Bin:
    """Objects of about one probability: their mean, the share of lenses among them, and its 95 % interval."""

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
    return _measure(labels, probabilities, np.ones(len(labels)))


def differences(
    labels: Labels, before: Floats, after: Floats, *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Floats]:
    """Each measure after less before, for the same objects drawn anew: name → (resamples,).

    Lenses and non-lenses are drawn each among themselves, as in `orchestrator.learning.bootstrap`.
    """
    rng, drawn = np.random.default_rng(seed), []
    classes = [np.flatnonzero(labels == label) for label in (0, 1)]
    for _ in range(resamples):
        chosen = np.concatenate([each[rng.integers(len(each), size=len(each))] for each in classes])
        times = np.bincount(chosen, minlength=len(labels)).astype(np.float64)
        first, second = (_measure(labels, each, times) for each in (before, after))
        drawn.append({name: second[name] - first[name] for name in first})
    return {name: np.array([each[name] for each in drawn]) for name in drawn[0]}


def bins(labels: Labels, probabilities: Floats) -> list[Bin]:
    """The points of a reliability diagram: the bins of the calibration error that hold anything."""
    which, found = _bin(probabilities), []
    for number in np.unique(which):
        here = which == number
        objects, lenses = int(here.sum()), int(labels[here].sum())
        mean = float(probabilities[here].mean())
        found.append(Bin(objects, mean, lenses / objects, *wilson(lenses, objects)))
    return found


def _bin(probabilities: Floats) -> NDArray[np.intp]:
    """Which of `BINS` each is in, from 0."""
    edges = np.arange(1, BINS) / BINS
    return np.searchsorted(edges, probabilities, side="left")


def _measure(labels: Labels, probabilities: Floats, times: Floats) -> dict[str, float]:
    """The measures where each object counts so many times."""
    error = probabilities - labels
    given = np.clip(np.where(labels == 1, probabilities, 1 - probabilities), SUREST, 1)
    total = times.sum()
    return {
        "brier": float(times @ error**2 / total),
        "ece": float(np.abs(np.bincount(_bin(probabilities), times * error, BINS)).sum() / total),
        "log_loss": float(times @ -np.log(given) / total),
    }
