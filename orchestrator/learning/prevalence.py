"""From the share of lenses among labelled objects to that of the sky: probabilities, purity and completeness there.

Only the share may differ. Lenses and others are taken to look like those that were labelled; where the sky's do not, as
simulated ones may not, nothing here sees it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from orchestrator.errors import DataError
from orchestrator.learning.metrics import roc

Floats = NDArray[np.float64]
Probabilities = TypeVar("Probabilities", Floats, Tensor)

ALLOWED = (0, 1, 3, 10, 30, 100, 300, 1000, 3000, 10_000)
"""False positives among the labelled objects, at most, for which a survey is told."""

CONFIDENCE = 0.95
"""Of the one-sided limits."""

DRAWS = 20_000
"""By which the limit of a purity is found."""


@dataclass(frozen=True)
class Step:
    """What a survey would see that accepts all from a threshold on.

    Attributes:
        threshold: the lowest logit accepted.
        probability: what that is at the survey's share of lenses.
        false_positives: of the labelled non-lenses, how many are accepted.
        completeness: share of the lenses that are accepted, as measured.
        fpr: share of the non-lenses that are.
        fpr_at_most: its upper limit. Nothing measured below one in all the non-lenses.
        purity: share of lenses among what is accepted; 1 without a false positive, which says nothing.
        purity_at_least: its lower limit; the completeness too may be lower than measured.
    """

    threshold: float
    probability: float
    false_positives: int
    completeness: float
    fpr: float
    fpr_at_most: float
    purity: float
    purity_at_least: float


@dataclass(frozen=True)
class Survey:
    """What a survey would see at that share of lenses, as far as so many labelled non-lenses tell."""

    prevalence: float
    negatives: int
    steps: tuple[Step, ...]


def check(prevalence: float) -> float:
    """A share of lenses that anything can be said of.

    Raises:
        DataError: it is not between 0 and 1.
    """
    if not 0 < prevalence < 1:
        raise DataError(f"prevalence {prevalence:g}: not a share of lenses (allowed: above 0 and below 1, as 1e-3)")
    return prevalence


def corrected(probabilities: Probabilities, share: float, prevalence: float) -> Probabilities:
    """Probabilities (n,) at one share of lenses, as they are at another: their log odds move by the difference.

    Args:
        probabilities: as a finder has them.
        share: of lenses among what it was trained or calibrated on, as `prevalence` in its metadata.
        prevalence: of lenses on the sky.

    Raises:
        DataError: either share is not between 0 and 1.

    Source: Saerens, Latinne & Decaestecker 2002, Neural Computation 14, 21, equation 2.4.
    """
    lens = probabilities * (check(prevalence) / check(share))
    other = (1 - probabilities) * ((1 - prevalence) / (1 - share))
    return lens / (lens + other)


def survey(labels: NDArray[np.int8], logits: Floats, probabilities: Floats, prevalence: float) -> Survey:
    """What is seen with no false positive among labelled objects, with one at most, with three and so on.

    Args:
        labels: (n,) 1 a lens, 0 none; of both some.
        logits: (n,) of them.
        probabilities: (n,) of them at the survey's share of lenses.
        prevalence: that share.

    The limit of the false-positive rate is Clopper & Pearson's 1934; without a false positive it is about 3 / n. It
    holds for a threshold that the objects themselves give, just above a non-lens.
    """
    from scipy.stats import beta

    curve = roc(labels, logits)
    _, first = np.unique(-logits, return_index=True)  # an object at each threshold
    told: dict[int, Step] = {}
    for allowed in ALLOWED:
        corner = int(np.searchsorted(curve.false_positives, allowed, side="right")) - 1
        count, total = int(curve.false_positives[corner]), curve.negatives
        if corner == 0 or count == total:
            continue  # nothing or everything is accepted
        highest = float(beta.ppf(CONFIDENCE, count + 1, total - count))
        tpr, fpr = float(curve.tpr[corner]), float(curve.fpr[corner])
        told[corner] = Step(
            float(curve.thresholds[corner]),
            float(probabilities[first[corner - 1]]),
            count,
            tpr,
            fpr,
            highest,
            _purity(tpr, fpr, prevalence),
            _purity_at_least(count, total, int(curve.true_positives[corner]), curve.positives, prevalence),
        )
    return Survey(prevalence, curve.negatives, tuple(told.values()))


def _purity_at_least(false: int, others: int, true: int, lenses: int, prevalence: float) -> float:
    """The lower limit, by drawing both rates as the limits of Clopper & Pearson have them."""
    rng = np.random.default_rng(0)
    if true == 0:
        return 0.0
    fpr = rng.beta(false + 1, others - false, DRAWS)
    tpr = rng.beta(true, lenses - true + 1, DRAWS)
    true_share, false_share = tpr * prevalence, fpr * (1 - prevalence)
    return float(np.quantile(true_share / (true_share + false_share), 1 - CONFIDENCE))


def _purity(tpr: float, fpr: float, prevalence: float) -> float:
    true, false = tpr * prevalence, fpr * (1 - prevalence)
    return true / (true + false) if true + false else float("nan")
