"""Calibrations: graphs from logit to probability, fitted to labels, and put behind a finder whose logit stays.

A network's own probabilities are rarely those of the sky: its last epochs push scores outwards, and its threshold
wanders from epoch to epoch.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from orchestrator.errors import RecipeError
from orchestrator.learning.finder import Scores

Floats = NDArray[np.float64]
Labels = NDArray[np.int8]


class Calibrated(nn.Module):
    """A finder with a probability of another making, (n,) float32 of its logit (n,)."""

    def __init__(self, finder: nn.Module, calibration: nn.Module) -> None:
        super().__init__()
        self.finder, self.calibration = finder, calibration
        self.training = False  # exported finders have no train() and eval() that would set it

    def forward(self, flux: Tensor) -> Scores:
        """Score cutouts (n, bands, size, size) float32, as their files hold them."""
        logit = self.finder(flux)["logit"]
        return {"logit": logit, "probability": self.calibration(logit)}


class Temperature(nn.Module):
    """``sigmoid(logit / temperature + offset)``."""

    def __init__(self, temperature: float, offset: float) -> None:
        super().__init__()
        self.temperature, self.offset = temperature, offset

    def forward(self, logit: Tensor) -> Tensor:
        """Logits (n,) to probabilities (n,)."""
        return (logit / self.temperature + self.offset).sigmoid()


class Isotonic(nn.Module):
    """A rising line through knots, level before the first and behind the last."""

    logits: Tensor
    probabilities: Tensor

    def __init__(self, logits: Floats, probabilities: Floats) -> None:
        super().__init__()
        self.register_buffer("logits", torch.from_numpy(logits).float())
        self.register_buffer("probabilities", torch.from_numpy(probabilities).float())

    def forward(self, logit: Tensor) -> Tensor:
        """Logits (n,) to probabilities (n,)."""
        return interpolate(logit, self.logits, self.probabilities)


TINY = torch.finfo(torch.float32).tiny
"""Between any two knots there is more."""


def interpolate(at: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Straight lines between knots (k,) with ascending x, read at (n,); outside them the value of the nearest.

    Knots may be of one x where float32 does not tell them apart.
    """
    right = torch.searchsorted(x, at, right=True).clamp(1, len(x) - 1)
    left = right - 1
    share = ((at - x[left]) / (x[right] - x[left]).clamp(min=TINY)).clamp(0, 1)
    return y[left] + share * (y[right] - y[left])


def temperature(labels: Labels, logits: Floats) -> Temperature:
    """Fit temperature and offset by maximum likelihood.

    The offset is there because a network's threshold is off more often than its slope, and because the share of lenses
    in what it is calibrated with is not that of its training. Targets are drawn in by half an object a class, so that
    classes that do not overlap have a finite slope. Source: Platt 1999; Guo et al. 2017, section 4.2, has no offset.

    Raises:
        RecipeError: lenses do not score higher than others.
    """
    from sklearn.linear_model import LogisticRegression

    lenses, others = int((labels == 1).sum()), int((labels == 0).sum())
    target = np.where(labels == 1, (lenses + 1) / (lenses + 2), 1 / (others + 2))
    # A target between 0 and 1 is an object of either label, each with its weight.
    doubled, label = np.concatenate([logits, logits]), np.repeat([1, 0], len(logits))
    line = LogisticRegression(C=np.inf, tol=1e-8, max_iter=10_000)
    line.fit(doubled[:, None], label, np.concatenate([target, 1 - target]))
    slope, offset = float(line.coef_[0, 0]), float(line.intercept_[0])
    if slope <= 0:
        raise RecipeError("lenses do not score higher than non-lenses here: there is nothing to calibrate")
    return Temperature(1 / slope, offset)


def isotonic(labels: Labels, logits: Floats) -> Isotonic:
    """Fit the rising steps of least squares, joined by lines.

    No probability is nearer to 0 or 1 than one object in all could tell. Source: Zadrozny & Elkan 2002.

    Raises:
        RecipeError: all logits are equal.
    """
    from sklearn.isotonic import IsotonicRegression

    surest = 1 / (len(labels) + 2)
    steps = IsotonicRegression(y_min=surest, y_max=1 - surest, out_of_bounds="clip").fit(logits, labels)
    if len(steps.X_thresholds_) < 2:
        raise RecipeError("all objects have one logit here: there is nothing to calibrate")
    return Isotonic(steps.X_thresholds_.astype(np.float64), steps.y_thresholds_.astype(np.float64))


METHODS: dict[str, Callable[[Labels, Floats], nn.Module]] = {"temperature": temperature, "isotonic": isotonic}
"""Name → its fit to labels (n,), 1 a lens and 0 none, and logits (n,)."""
