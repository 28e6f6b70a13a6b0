"""Turns a scene into pixels: light, PSF, noise and masks; and measures the lensed image as the challenge does."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from orchestrator.data.challenge import GROUND, MASKED, SIZE, SPACE, ImagingSet
from orchestrator.data.simulation import light
from orchestrator.data.simulation.population import Scene

if TYPE_CHECKING:
    from torch import Tensor

SKY = {SPACE.name: (7.8e-13,), GROUND.name: (1.53e-12, 3.2e-12, 1.25e-12, 2.0e-12)}
"""Standard deviation of the sky in each band."""

GAIN = {SPACE.name: (1.9e13,), GROUND.name: (6.8e13, 4.3e13, 4.5e13, 1.2e13)}
"""A flux F adds F / gain to the variance."""

MOFFAT_BETA = 3.5
"""Of the Ground set's PSF; that of the Space set is Gaussian."""

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Rendered:
    """One object as its files will hold it, and what only a simulation knows.

    Attributes:
        pixels: (bands, size, size) float32.
        arc_pixels: pixels of the lensed image above the sky's standard deviation, in the first band.
        arc_flux: their flux in units of it.
        arc_snr: signal-to-noise ratio of the lensed image over those pixels.
        arc_magnitude: of all of the lensed image within the cutout, in the first band; infinite without one.
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
    import torch

    sky = torch.tensor(SKY[imaging.name])
    x, y = light.axes(imaging, scene.centre)
    image = torch.fft.rfft2(light.galaxies(imaging, x, y, scene.foreground, sky))
    psf = _psf(imaging, scene.fwhm)
    lensed = np.zeros((SIZE, SIZE), np.float32)
    if scene.source:
        arcs = torch.fft.rfft2(light.arcs(imaging, x, y, scene.lens, scene.source, sky))
        magnitudes = torch.tensor(scene.source[0].magnitudes)
        image += arcs * 10 ** (-0.4 * (magnitudes - magnitudes[0]))[:, None, None]
        lensed = _pixels(imaging, arcs * psf[0]).numpy()
    flux = _pixels(imaging, image * psf).numpy()
    pixels = flux + _noise(imaging, scene, flux)
    if scene.mask is not None:
        top, left, height, width, band = scene.mask
        pixels[band, top : top + height, left : left + width] = MASKED
    above = lensed > SKY[imaging.name][0]
    count, total = int(above.sum()), float(lensed.sum())
    arc_flux = float(lensed[above].sum() / SKY[imaging.name][0])
    return Rendered(
        pixels=pixels,
        arc_pixels=count,
        arc_flux=arc_flux,
        arc_snr=arc_flux / np.sqrt(max(count, 1)),
        arc_magnitude=-2.5 * float(np.log10(total)) if total > 0 else float("inf"),
        masked=int((pixels == MASKED).sum()),
    )


def _psf(imaging: ImagingSet, fwhm: tuple[float, ...]) -> Tensor:
    """Fourier transform of each band's PSF."""
    import torch

    radius = _radii(imaging) / torch.tensor(fwhm)[:, None, None]
    if imaging == SPACE:
        kernel = torch.exp(-4 * np.log(2) * radius**2)
    else:
        kernel = (1 + 4 * (2 ** (1 / MOFFAT_BETA) - 1) * radius**2) ** -MOFFAT_BETA
    transformed: Tensor = torch.fft.rfft2(kernel / kernel.sum((1, 2), keepdim=True))
    return transformed


@cache
def _radii(imaging: ImagingSet) -> Tensor:
    """Distance of every cell from the first, around the edges."""
    import torch

    finer = light.FINER[imaging.name]
    at = torch.fft.fftfreq(light.SIDE * finer, 1 / light.SIDE) * imaging.pixel_scale
    return torch.hypot(at[:, None], at[None, :])


def _pixels(imaging: ImagingSet, transformed: Tensor) -> Tensor:
    """The cutout, of cells' Fourier transforms (…, cells, cells // 2 + 1)."""
    import torch

    finer = light.FINER[imaging.name]
    cells: Tensor = torch.fft.irfft2(transformed, s=(light.SIDE * finer, light.SIDE * finer))
    pixels = cells.reshape(*cells.shape[:-2], light.SIDE, finer, light.SIDE, finer).sum((-3, -1))
    inside = slice(light.MARGIN, light.MARGIN + SIZE)
    return pixels[..., inside, inside]


def _noise(imaging: ImagingSet, scene: Scene, flux: Array) -> Array:
    """Of the sky and of the light itself; that of resampled survey images is correlated."""
    rng = np.random.Generator(np.random.Philox(scene.seed))
    reach = 2 if scene.resampling else 0
    drawn = rng.standard_normal((len(flux), SIZE + 2 * reach, SIZE + 2 * reach), dtype=np.float32)
    if scene.resampling:
        near, far = scene.resampling
        kernel = np.array([far, near, 1, near, far], np.float32)
        kernel /= np.sqrt((kernel**2).sum())
        drawn = sum(kernel[n] * drawn[:, n : n + SIZE] for n in range(5))
        drawn = sum(kernel[n] * drawn[:, :, n : n + SIZE] for n in range(5))
    sky = np.array(SKY[imaging.name]) * scene.noise_scale
    gain = np.array(GAIN[imaging.name])
    deviation = np.sqrt(sky[:, None, None] ** 2 + np.maximum(flux, 0) / gain[:, None, None])
    noise: Array = drawn * deviation.astype(np.float32)
    return noise
