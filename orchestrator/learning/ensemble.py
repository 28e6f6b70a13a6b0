"""Better than one network: the mean over orientations of a cutout, and several finders as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from orchestrator.errors import RecipeError
from orchestrator.learning.calibration import interpolate
from orchestrator.learning.finder import Scores, uncalibrated

Floats = NDArray[np.float64]
Labels = NDArray[np.int8]

How = Literal["mean", "rank", "stacking"]

STRENGTH = 1.0
"""Of the logistic regression, inversely its L2 penalty on standardised logits; scikit-learn's default."""


class Orientations(nn.Module):
    """The mean logit of a cutout in the eight orientations of a square, in which the sky is as likely as in any."""

    def __init__(self, finder: nn.Module) -> None:
        super().__init__()
        self.finder = finder
        self.training = False  # exported finders have no train() and eval() that would set it

    def forward(self, flux: Tensor) -> Scores:
        """Score cutouts (n, bands, size, size) float32, as their files hold them."""
        logits = [
            self.finder(turned.rot90(turns, (2, 3)).contiguous())["logit"]
            for turned in (flux, flux.flip(3))
            for turns in range(4)
        ]
        return uncalibrated(torch.stack(logits).mean(0))


class Rank(nn.Module):
    """Where among the logits of validation objects others would stand, from 0 to 1, by lines between neighbours.

    What lies outside all of them goes on as evenly as they are spread: steps would tie the highest scores of a survey,
    which is where a false-positive rate of one in a thousand is told.
    """

    values: Tensor
    ranks: Tensor

    def __init__(self, logits: Floats) -> None:
        super().__init__()
        values, counts = np.unique(logits.astype(np.float32), return_counts=True)
        if len(values) < 2:
            raise RecipeError("a member gives all validation objects one logit: they have no ranks")
        self.register_buffer("values", torch.from_numpy(values))
        self.register_buffer("ranks", torch.from_numpy((np.cumsum(counts) - counts / 2) / len(logits)).float())

    def forward(self, logit: Tensor) -> Tensor:
        """Logits (n,) to ranks (n,)."""
        lowest, highest = self.values[0], self.values[-1]
        beyond = logit - logit.clamp(lowest, highest)
        return interpolate(logit, self.values, self.ranks) + beyond / (highest - lowest)


class Ensemble(nn.Module):
    """``offset + Σ weight · scale(logit)`` over several finders."""

    weights: Tensor

    def __init__(
        self, finders: Sequence[nn.Module], scales: Sequence[nn.Module], weights: Floats, offset: float
    ) -> None:
        super().__init__()
        self.finders, self.scales, self.offset = nn.ModuleList(finders), nn.ModuleList(scales), offset
        self.register_buffer("weights", torch.from_numpy(weights).float())
        self.training = False

    def forward(self, flux: Tensor) -> Scores:
        """Score cutouts (n, bands, size, size) float32, as their files hold them."""
        values = [scale(finder(flux)["logit"]) for finder, scale in zip(self.finders, self.scales, strict=True)]
        return uncalibrated((self.weights[:, None] * torch.stack(values)).sum(0) + self.offset)


def combine(finders: Sequence[nn.Module], how: How, labels: Labels, logits: Floats) -> Ensemble:
    """Make one finder of several.

    Args:
        finders: raw flux to scores, each.
        how: ``mean`` of the logits; ``rank``, the mean rank, whose scale a logistic regression makes that of a logit;
            ``stacking``, a logistic regression on the logits.
        labels: (n,) of the validation objects.
        logits: (members, n) of the same; what is fitted is fitted to them.

    Raises:
        RecipeError: nothing can be fitted to them.
    """
    even, logit = np.full(len(finders), 1 / len(finders)), [nn.Identity()] * len(finders)
    if how == "mean":
        return Ensemble(finders, logit, even, 0.0)
    if how == "stacking":
        return Ensemble(finders, logit, *stacked(labels, logits))
    ranks = [Rank(each) for each in logits]
    ranked = [rank(torch.from_numpy(each).float()).numpy() for rank, each in zip(ranks, logits, strict=True)]
    (slope,), offset = stacked(labels, np.mean(ranked, axis=0, keepdims=True, dtype=np.float64))
    if slope <= 0:
        raise RecipeError("lenses do not rank higher than non-lenses among the validation objects")
    return Ensemble(finders, ranks, even * slope, offset)


def stacked(labels: Labels, values: Floats) -> tuple[Floats, float]:
    """Weights (members,) and offset of the logistic regression of labels (n,) on values (members, n)."""
    from sklearn.linear_model import LogisticRegression

    middle, spread = values.mean(axis=1), values.std(axis=1)
    spread = np.where(spread > 0, spread, 1.0)
    line = LogisticRegression(C=STRENGTH, tol=1e-8, max_iter=10_000)
    line.fit(((values - middle[:, None]) / spread[:, None]).T, labels)
    weights = line.coef_[0] / spread
    return weights, float(line.intercept_[0] - weights @ middle)
