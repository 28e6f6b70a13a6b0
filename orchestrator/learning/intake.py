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


def prepare(flux: Tensor, normalisation: str) -> Tensor:
    """Set pixels without a measurement to no flux, and normalise; see `orchestrator.data.normalise.prepare`."""
    measured = (flux != MASKED) & (flux.abs() < DAMAGED)  # NaN is neither
    return NORMALISATIONS[normalisation](torch.where(measured, flux, 0.0))


def zscale(images: Tensor) -> Tensor:
    """Stretch each image between its ZScale limits, and clip to [0, 1]."""
    flat = images.flatten(2).flatten(0, 1)
    low, high = _zscale_limits(flat)
    span = (high - low).float()
    stretched = (flat - low.float()) / torch.where(span > 0, span, 1.0)
    return stretched.clamp(0, 1).reshape(images.shape)


def asinh(images: Tensor) -> Tensor:
    """Inverse hyperbolic sine of the flux above the median, in units of the noise."""
    flat = images.flatten(2).double()
    flat = flat - _median(flat)
    noise = MAD_TO_SIGMA * _median(flat.abs())
    return (flat / torch.where(noise > 0, noise, 1.0)).asinh().float().reshape(images.shape)


def none(images: Tensor) -> Tensor:
    """Leave the flux as it is."""
    return images


NORMALISATIONS: dict[str, Callable[[Tensor], Tensor]] = {"zscale": zscale, "asinh": asinh, "none": none}


def _median(flat: Tensor) -> Tensor:
    """Of the last axis, which stays with length 1; of an even number the mean of the two in the middle."""
    ordered = flat.sort(dim=-1).values
    count = flat.shape[-1]
    return ordered[..., (count - 1) // 2 : count // 2 + 1].mean(dim=-1, keepdim=True)


def _zscale_limits(flat: Tensor) -> tuple[Tensor, Tensor]:
    """Lower and upper limit of each row, (n, 1) float64; rows that are done go along unchanged."""
    stride = max(1, int(flat.shape[1] / SAMPLES))
    ordered = flat[:, ::stride][:, :SAMPLES].sort(dim=1).values
    count = ordered.shape[1]
    median = ordered[:, (count - 1) // 2 : count // 2 + 1].mean(dim=1, keepdim=True).double()
    samples = ordered.double()
    low, high = samples[:, :1], samples[:, -1:]
    fewest, width = max(MIN_PIXELS, int(count * MAX_REJECT)), max(1, int(count * 0.01))

    x = torch.linspace(-1, 1, count, dtype=torch.float64, device=flat.device)
    unit = torch.where(high > low, high - low, 1.0)
    y = (samples - median) / unit
    good, active = torch.ones_like(y, dtype=torch.bool), torch.ones_like(low, dtype=torch.bool)
    kept, slope = torch.full_like(low, count), torch.zeros_like(low)
    for _ in range(ITERATIONS):
        intercept, fitted, spread = _fit_line(x, y, good.double())
        bad = ~good | ((fitted * x + intercept - y).abs() > KREJ * spread)
        around = pad(bad.float(), (width // 2, (width - 1) // 2))
        bad = max_pool1d(around[:, None], width, stride=1)[:, 0] > 0
        left = (~bad).double().sum(dim=1, keepdim=True)
        slope = torch.where(active, fitted, slope)
        going_on = active & (left < kept) & (left >= fewest)
        kept, good = torch.where(active, left, kept), good & ~(bad & active)  # what is not good is bad
        active = going_on

    step = slope * unit * (2 / (count - 1)) / CONTRAST
    middle = (count - 1) // 2
    fitted_low = torch.maximum(low, median - (middle - 1) * step)
    fitted_high = torch.minimum(high, median + (count - middle) * step)
    enough = kept >= fewest
    return torch.where(enough, fitted_low, low), torch.where(enough, fitted_high, high)


def _fit_line(x: Tensor, y: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Least squares of each row: intercepts, slopes, standard deviations of the residuals, (n, 1) each."""
    weighted = weight * y
    n, sx, sxx = weight.sum(dim=1, keepdim=True), weight @ x[:, None], weight @ (x * x)[:, None]
    sy, sxy, syy = weighted.sum(dim=1, keepdim=True), weighted @ x[:, None], (weighted * y).sum(dim=1, keepdim=True)
    vxx, vxy, vyy = sxx - sx * sx / n, sxy - sx * sy / n, syy - sy * sy / n
    slope = vxy / vxx
    spread = ((vyy - slope * vxy).clamp(min=0) / n).sqrt()
    return (sy - slope * sx) / n, slope, spread
