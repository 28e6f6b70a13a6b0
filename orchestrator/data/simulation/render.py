"""Turns a scene into pixels: ray tracing and light with caustics, then PSF, noise and masks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from orchestrator.data.challenge import MASKED, SIZE, SPACE, ImagingSet
from orchestrator.data.simulation.population import Scene, Sersic

SKY = {"space": (7.8e-13,), "ground": (1.53e-12, 3.2e-12, 1.25e-12, 2.0e-12)}
"""Standard deviation of the sky in each band."""

GAIN = {"space": (1.9e13,), "ground": (6.8e13, 4.3e13, 4.5e13, 1.2e13)}
"""A flux F adds F / gain to the variance."""

CORRELATION = 0.1
"""What a resampled pixel takes of each neighbour; the lag-1 correlation is then about 0.19."""

OVERSAMPLING = {"space": 3, "ground": 2}
MARGIN = 6
"""Pixels rendered beyond the border, so that the PSF brings in what lies there."""

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Rendered:
    """One object as its files will hold it, and what only a simulation knows.

    Attributes:
        pixels: (bands, size, size) float32.
        arc_pixels: pixels of the lensed image above the sky's standard deviation, in the first band.
        arc_flux: their flux in units of it.
        arc_snr: signal-to-noise ratio of the lensed image over those pixels.
        arc_magnitude: of all of the lensed image, in the first band; infinite without one.
        masked: pixels without a measurement.
    """

    pixels: Array
    arc_pixels: int
    arc_flux: float
    arc_snr: float
    arc_magnitude: float
    masked: int


def render(imaging: ImagingSet, scene: Scene) -> Rendered:
    """Compute one object; it depends on nothing but the arguments."""
    light = _light(imaging, scene.foreground, None)
    arcs = _light(imaging, scene.source, scene) if scene.source else np.zeros_like(light)
    sky = np.array(SKY[imaging.name], np.float32)
    gain = np.array(GAIN[imaging.name], np.float32)
    psfs = [_psf(imaging, fwhm) for fwhm in scene.fwhm]
    arcs = np.stack([_blur(band, psf, imaging) for band, psf in zip(arcs, psfs, strict=True)])
    flux = np.stack([_blur(band, psf, imaging) for band, psf in zip(light, psfs, strict=True)]) + arcs
    pixels = flux + _noise(scene, flux, sky, gain)
    masked = 0
    if scene.mask is not None:
        top, left, height, width, band = scene.mask
        pixels[band, top : top + height, left : left + width] = MASKED
        masked = int((pixels == MASKED).sum())
    above = arcs[0] > sky[0]
    arc_flux = float(arcs[0][above].sum() / sky[0])
    count = int(above.sum())
    total = float(arcs[0].sum())
    return Rendered(
        pixels.astype(np.float32),
        count,
        arc_flux,
        arc_flux / np.sqrt(count) if count else 0.0,
        -2.5 * float(np.log10(total)) if total > 0 else float("inf"),
        masked,
    )


@cache
def _grid(imaging: ImagingSet) -> tuple[object, object]:
    import torch

    over = OVERSAMPLING[imaging.name]
    side = (SIZE + 2 * MARGIN) * over
    at = (torch.arange(side, dtype=torch.float32) - (side - 1) / 2) * (imaging.pixel_scale / over)
    y, x = torch.meshgrid(at, at, indexing="ij")
    return x, y


def _light(imaging: ImagingSet, components: tuple[Sersic, ...], lens: Scene | None) -> Array:
    """Flux in each sub-pixel, (bands, side, side); seen through the lens where one is given."""
    import torch
    from caustics.func import (
        brightness_sersic,
        k_sersic,
        reduced_deflection_angle_external_shear,
        reduced_deflection_angle_sie,
    )

    x, y = _grid(imaging)
    zero = torch.zeros(())
    if lens is not None:
        q, phi, radius = (torch.tensor(each) for each in (lens.q, lens.phi, lens.theta_e))
        ax, ay = reduced_deflection_angle_sie(zero, zero, q, phi, radius, x, y, 1e-4)
        gamma1, gamma2 = torch.tensor(lens.gamma1), torch.tensor(lens.gamma2)
        sx, sy = reduced_deflection_angle_external_shear(zero, zero, gamma1, gamma2, x, y)
        x, y = x - ax - sx, y - ay - sy
    area = (imaging.pixel_scale / OVERSAMPLING[imaging.name]) ** 2
    bands = len(imaging.bands)
    total = np.zeros((bands, *x.shape), np.float32)  # type: ignore[attr-defined]
    for each in components:
        values = (each.x, each.y, each.q, each.phi, each.n, each.radius)
        x0, y0, q, phi, n, radius = (torch.tensor(value, dtype=torch.float32) for value in values)
        k = k_sersic(n)
        shape = brightness_sersic(x0, y0, q, phi, n, radius, torch.ones(()), x, y, k, 0.02)
        # The whole profile's flux per unit of brightness at Re (Graham & Driver 2005, equation 4).
        norm = 2 * np.pi * radius**2 * q * n * torch.exp(k) * k ** (-2 * n) * torch.exp(torch.lgamma(2 * n))
        unit = (shape * (area / norm)).numpy()
        for band, m in enumerate(each.magnitudes):
            total[band] += np.float32(10 ** (-0.4 * m)) * unit
    return total


@cache
def _space_psf() -> NDArray[np.complex64]:
    return _transform(SPACE, lambda r: np.exp(-4 * np.log(2) * (r / 0.18) ** 2))


def _psf(imaging: ImagingSet, fwhm: float) -> NDArray[np.complex64]:
    """Fourier transform of the PSF on the sub-pixel grid: Gaussian in Space, Moffat with β = 3.5 on the Ground."""
    if imaging == SPACE:
        return _space_psf()
    beta = 3.5
    alpha = fwhm / (2 * np.sqrt(2 ** (1 / beta) - 1))
    return _transform(imaging, lambda r: (1 + (r / alpha) ** 2) ** -beta)


def _transform(imaging: ImagingSet, profile) -> NDArray[np.complex64]:  # type: ignore[no-untyped-def]
    over = OVERSAMPLING[imaging.name]
    side = (SIZE + 2 * MARGIN) * over
    at = np.fft.fftfreq(side, 1 / side) * imaging.pixel_scale / over
    kernel = profile(np.hypot(at[:, None], at[None, :]))
    from scipy.fft import rfft2

    transformed: NDArray[np.complex64] = rfft2((kernel / kernel.sum()).astype(np.float32))
    return transformed


def _blur(image: Array, psf: NDArray[np.complex64], imaging: ImagingSet) -> Array:
    """Convolve and sum sub-pixels to pixels, without the margin."""
    from scipy.fft import irfft2, rfft2

    over = OVERSAMPLING[imaging.name]
    blurred = irfft2(rfft2(image) * psf, s=image.shape)
    side = SIZE + 2 * MARGIN
    pixels: Array = blurred.reshape(side, over, side, over).sum(axis=(1, 3), dtype=np.float32)
    return pixels[MARGIN:-MARGIN, MARGIN:-MARGIN]


def _noise(scene: Scene, flux: Array, sky: Array, gain: Array) -> Array:
    rng = np.random.Generator(np.random.Philox(scene.seed))
    white = rng.standard_normal((len(flux), SIZE + 2, SIZE + 2), dtype=np.float32)
    if scene.correlated:
        across = white[:, 1:-1, :-2] + white[:, 1:-1, 2:] + white[:, :-2, 1:-1] + white[:, 2:, 1:-1]
        drawn = (white[:, 1:-1, 1:-1] + CORRELATION * across) / np.sqrt(1 + 4 * CORRELATION**2)
    else:
        drawn = white[:, 1:-1, 1:-1]
    deviation = np.sqrt((scene.noise_scale * sky[:, None, None]) ** 2 + np.maximum(flux, 0) / gain[:, None, None])
    noise: Array = drawn * deviation
    return noise
