"""Ways to bring pixels to the scale of a network's input; one way is one function, chosen by name.

Each takes pixels (n, bands, h, w) below `DAMAGED` and returns finite float32 of the same shape; every image and band is
treated by itself, so the result does not depend on the company it is in. `prepare` clears other pixels first.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from orchestrator.data.challenge import MASKED

Pixels = NDArray[np.float32]
Floats = NDArray[np.float64]

SAMPLES, CONTRAST, MAX_REJECT, MIN_PIXELS, KREJ, ITERATIONS = 1000, 0.25, 0.5, 5, 2.5, 5
"""The defaults of `astropy.visualization.ZScaleInterval`."""

MAD_TO_SIGMA = 1.482602218505602
"""Standard deviation of a Gaussian over its median absolute deviation."""

DAMAGED = 1e30
"""No flux comes near this, nor the sum of any: such numbers come of damaged files, and would overflow."""

BRIGHT = 1.0
"""Flux that no image with masks in it reaches: there a 1 would be of magnitude 0."""


def zscale(images: Pixels) -> Pixels:
    """Stretch each image linearly between its ZScale limits, and clip to [0, 1].

    A constant image becomes 0. Source: NOAO 1997, as `astropy.visualization.ZScaleInterval` computes it; the two
    agree but where over four fifths of the pixels are one number, and astropy's limits depend on rounding.
    """
    flat = images.reshape(-1, images.shape[-2] * images.shape[-1])
    low, high = zscale_limits(flat)
    span = (high - low).astype(np.float32)
    stretched = flat - low.astype(np.float32)[:, None]
    with np.errstate(over="ignore"):  # an infinite quotient is clipped to 1
        stretched /= np.where(span > 0, span, 1)[:, None]
    return np.clip(stretched, 0, 1, out=stretched).reshape(images.shape)


def asinh(images: Pixels) -> Pixels:
    """Inverse hyperbolic sine of the flux above the median, in units of the noise.

    Linear within the noise and logarithmic above it, so that faint arcs and bright cores fit one scale; the
    noise is estimated from the median absolute deviation. Source: Lupton et al. 1999, AJ 118, 1406.
    """
    flat = images.reshape(-1, images.shape[-2] * images.shape[-1]).astype(np.float64)
    flat -= np.median(flat, axis=1, keepdims=True)
    noise = MAD_TO_SIGMA * np.median(np.abs(flat), axis=1, keepdims=True)
    flat /= np.where(noise > 0, noise, 1.0)
    return np.arcsinh(flat).astype(np.float32).reshape(images.shape)


def none(images: Pixels) -> Pixels:
    """Leave the flux as it is: of order 1e-12 in the challenge."""
    return images.astype(np.float32)


NORMALISATIONS: dict[str, Callable[[Pixels], Pixels]] = {"zscale": zscale, "asinh": asinh, "none": none}


def unmasked(images: NDArray[np.float32], *, integers: bool = False) -> NDArray[np.float32]:
    """Tell a measurement that happens to be `MASKED` from a mask: it becomes the next larger number.

    Masks are in the challenge's images, whose flux is far below `BRIGHT`; whole numbers, and images that reach it,
    are in other units, where 100 is one value of many. Finders take `MASKED` for a mask wherever it stands.

    Args:
        images: (…, h, w), each judged by itself.
        integers: whether they were whole numbers before they were scaled.
    """
    if not (images == MASKED).any():
        return images
    images = images.copy()
    for image in images.reshape(-1, *images.shape[-2:]):
        at = image == MASKED
        others = np.abs(image[~at])
        if integers or ((others >= BRIGHT) & (others < DAMAGED)).any():
            image[at] = np.nextafter(np.float32(MASKED), np.float32(np.inf))
    return images


def unmeasured(raw: Pixels) -> NDArray[np.bool_]:
    """Tell the pixels without a measurement: masked, NaN, infinite, or not below `DAMAGED`."""
    measured: NDArray[np.bool_] = (raw != MASKED) & (np.abs(raw) < DAMAGED)
    return ~measured


def prepare(raw: Pixels, normalisation: str) -> tuple[Pixels, NDArray[np.int32]]:
    """Make raw cutouts (n, bands, h, w) ready for a network.

    Returns:
        Normalised pixels of the same shape, and (n, bands) counts of the pixels without a measurement, which
        were set to no flux before.
    """
    without = unmeasured(raw)
    pixels = NORMALISATIONS[normalisation](np.where(without, np.float32(0), raw))
    return pixels, without.sum(axis=(2, 3), dtype=np.int32)


def zscale_limits(flat: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Find the ZScale limits of many images at once.

    Args:
        flat: (n, pixels), finite.

    Returns:
        Lower and upper limit, (n,) each.
    """
    stride = max(1, int(flat.shape[1] / SAMPLES))
    samples = np.sort(flat[:, ::stride][:, :SAMPLES], axis=1)
    count = samples.shape[1]
    # The median, rounded to the image's own type as astropy's is.
    median = samples[:, (count - 1) // 2 : count // 2 + 1].mean(axis=1).astype(np.float64)
    samples = samples.astype(np.float64)
    low, high = samples[:, 0], samples[:, -1]
    fewest = max(MIN_PIXELS, int(count * MAX_REJECT))
    width = max(1, int(count * 0.01))

    # From -1 to 1 along the samples, and in units of each image's range, so that squares keep their digits.
    x = np.linspace(-1, 1, count)
    unit = np.where(high > low, high - low, 1.0)
    y = (samples - median[:, None]) / unit[:, None]
    slope = np.zeros(len(y))
    kept = np.full(len(y), count)
    active, bad = np.arange(len(y)), np.zeros(y.shape, dtype=bool)
    for _ in range(ITERATIONS):
        intercept, slope[active], spread = _fit_line(x, y, ~bad)
        residual = slope[active, None] * x
        residual += intercept[:, None]
        residual -= y
        bad |= np.abs(residual, out=residual) > KREJ * spread[:, None]
        bad = _widen(bad, width)
        before, kept[active] = kept[active], count - bad.sum(axis=1)
        going_on = (kept[active] < before) & (kept[active] >= fewest)
        if not going_on.any():
            break
        if not going_on.all():
            active, y, bad = active[going_on], y[going_on], bad[going_on]

    step = slope * unit * (2 / (count - 1)) / CONTRAST
    middle = (count - 1) // 2
    enough = kept >= fewest
    fitted_low = np.maximum(low, median - (middle - 1) * step)
    fitted_high = np.minimum(high, median + (count - middle) * step)
    return np.where(enough, fitted_low, low), np.where(enough, fitted_high, high)


def _fit_line(x: Floats, y: Floats, good: NDArray[np.bool_]) -> tuple[Floats, Floats, Floats]:
    """Least squares over the good samples of each row: intercepts, slopes, standard deviations of the residuals."""
    # Not as matrix products: their threads would contend with the processes that share the work.
    weight = good.astype(np.float64)
    n, sx, sxx = weight.sum(axis=1), np.einsum("ij,j->i", weight, x), np.einsum("ij,j->i", weight, x * x)
    weight *= y
    sy, sxy, syy = weight.sum(axis=1), np.einsum("ij,j->i", weight, x), np.einsum("ij,ij->i", weight, y)
    vxx, vxy, vyy = sxx - sx * sx / n, sxy - sx * sy / n, syy - sy * sy / n
    slope = vxy / vxx
    spread = np.sqrt(np.maximum(vyy - slope * vxy, 0) / n)
    return (sy - slope * sx) / n, slope, spread


def _widen(bad: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    """Mark all within a window of `width` around what is marked, placed as `np.convolve(…, "same")` places it."""
    count, right = bad.shape[1], (width - 1) // 2
    wide = np.zeros((len(bad), count + width - 1), dtype=bool)
    wide[:, :count] = bad
    reach = 1
    while reach < width:
        step = min(reach, width - reach)
        wide[:, step:] |= wide[:, :-step]
        reach += step
    return wide[:, right : right + count]
