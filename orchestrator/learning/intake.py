"""The normalisations of `orchestrator.data.normalise` once more, as torch, so that a network is exported with its own.

Each takes flux (n, bands, h, w) of any number of images and returns float32 of the same shape, within rounding of what
its namesake gives. Nothing depends on the values but through tensors, so that `torch.export` can follow.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import max_pool1d, pad

from orchestrator.data.challenge import MASKED
from orchestrator.data.normalise import (
    CONTRAST,
    DAMAGED,
    ITERATIONS,
    KREJ,
    MAD_TO_SIGMA,
    MAX_REJECT,
    MIN_PIXELS,
    SAMPLES,
)

LARGE = 1e15
"""Where the inverse hyperbolic sine is a logarithm to all digits, and a square does not overflow."""


def prepare(flux: Tensor, normalisation: str) -> Tensor:
    """Set pixels without a measurement to no flux, and normalise; see `orchestrator.data.normalise.prepare`."""
    measured = (flux != MASKED) & (flux.abs() < DAMAGED)  # NaN is neither
    return NORMALISATIONS[normalisation](torch.where(measured, flux, 0.0))


def zscale(images: Tensor) -> Tensor:
    """Stretch each image between its ZScale limits, and clip to [0, 1]."""
    flat = images.flatten(2).flatten(0, 1)
    low, high = _zscale_limits(flat)
    span = high - low
    stretched = (flat - low) / torch.where(span > 0, span, 1.0)
    return stretched.clamp(0, 1).reshape(images.shape)


def asinh(images: Tensor) -> Tensor:
    """Inverse hyperbolic sine of the flux above the median, in units of the noise."""
    flat = images.flatten(2)
    flat = flat - _median(flat)
    noise = MAD_TO_SIGMA * _median(flat.abs())
    noise = torch.where(noise > 0, noise, 1.0)
    # Beyond LARGE the function is a logarithm; of a product it is a sum, which does not overflow.
    beyond = ((flat.abs() / LARGE).log() - noise.log()).clamp(min=0)
    return ((flat / noise).clamp(-LARGE, LARGE).asinh() + flat.sign() * beyond).reshape(images.shape)


def none(images: Tensor) -> Tensor:
    """Leave the flux as it is."""
    return images


NORMALISATIONS: dict[str, Callable[[Tensor], Tensor]] = {"zscale": zscale, "asinh": asinh, "none": none}


def _median(flat: Tensor) -> Tensor:
    """Of the last axis, which stays with length 1; of an even number the mean of the two in the middle."""
    count = flat.shape[-1]
    if count % 2:
        return flat.median(dim=-1, keepdim=True).values  # finds it in a fifth of the time that sorting takes
    ordered = flat.sort(dim=-1).values
    return ordered[..., (count - 1) // 2 : count // 2 + 1].mean(dim=-1, keepdim=True)


def _zscale_limits(flat: Tensor) -> tuple[Tensor, Tensor]:
    """Lower and upper limit of each row, (n, 1).

    All rows go through all iterations: one that rejects nothing more does not change, and of one that has too few left
    the line does not count. The fewer operations there are, the sooner a finder is exported and loaded.
    """
    stride = max(1, int(flat.shape[1] / SAMPLES))
    ordered = flat[:, ::stride][:, :SAMPLES].sort(dim=1).values
    count = ordered.shape[1]
    median = ordered[:, (count - 1) // 2 : count // 2 + 1].mean(dim=1, keepdim=True)
    low, high = ordered[:, :1], ordered[:, -1:]
    fewest, width = max(MIN_PIXELS, int(count * MAX_REJECT)), max(1, int(count * 0.01))

    x = torch.arange(1 - count, count, 2, dtype=torch.float32, device=flat.device)
    above = ordered - median
    good = torch.ones_like(above)
    kept, slope = good.sum(dim=1, keepdim=True), low
    for _ in range(ITERATIONS):  # least squares over the good samples, then good are those near the line
        # In units of what is left: one bright pixel would leave the others no digits.
        left = torch.where(good > 0, above, 0.0)
        unit = left.abs().amax(dim=1, keepdim=True)
        unit = torch.where(unit > 0, unit, 1.0)
        y = left / unit
        dx, dy = good * (x - (good * x).sum(dim=1, keepdim=True) / kept), good * (y - y.sum(dim=1, keepdim=True) / kept)
        slope = (dx * dy).sum(dim=1, keepdim=True) / (dx * dx).sum(dim=1, keepdim=True)
        residual = dy - slope * dx
        squares = residual * residual
        spread = squares.sum(dim=1, keepdim=True) / kept
        bad = torch.where(squares > KREJ**2 * spread, 1.0, 1 - good)
        good = 1 - max_pool1d(pad(bad, (width // 2, (width - 1) // 2)), width, stride=1)
        kept = good.sum(dim=1, keepdim=True)

    step = slope * (2 / CONTRAST) * unit
    middle = (count - 1) // 2
    fitted_low = torch.maximum(low, median - (middle - 1) * step)
    fitted_high = torch.minimum(high, median + (count - middle) * step)
    enough = kept >= fewest
    return torch.where(enough, fitted_low, low), torch.where(enough, fitted_high, high)
