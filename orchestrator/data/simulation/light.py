"""Light on the sky before any telescope: the flux of galaxies in the cells of a grid, as they are or lensed.

A cell is a pixel, or a quarter of one where the PSF is narrower than two; it holds the mean of several points where
light varies within a pixel. Profiles and deflections are those of caustics. Tensors are float32, lengths arcseconds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from orchestrator.data.challenge import GROUND, SPACE, ImagingSet
from orchestrator.data.simulation.population import Lens, Pattern, Sersic

if TYPE_CHECKING:
    from torch import Tensor

    Brightness = Callable[[Tensor, Tensor], Tensor]

SIDE, MARGIN = 112, 5
"""Pixels along the grid, and how many lie before the cutout, so that the PSF brings in what is there."""

FINER = {SPACE.name: 2, GROUND.name: 1}
"""Cells along a pixel: so many that the PSF's Fourier transform ends within the grid's."""

CORE, CORE_POINTS = 6, 8
"""Pixels on each side of a galaxy's centre that are means, and the points along each."""

ARC_POINTS = {SPACE.name: 4, GROUND.name: 6}
"""Points along each pixel in which a source is seen."""

FAINTEST = 0.02
"""Light is left out where it is less than this share of the sky's standard deviation in every band."""

SOFTENING = 0.001
"""Added to the radius of every profile, whose centre would be a cusp."""

RING_WIDTH, RING_SHARE = 0.15, 0.2
"""Standard deviation of a ring in half-light radii, and the share of an exponential disk in a ring of contrast 1."""

CHUNK = 512
"""Pixels computed at once, so that their points stay in the processor's cache."""


def axes(imaging: ImagingSet, centre: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """Positions of the grid's columns and rows, (SIDE,) each, where `centre` is that of the lens in the cutout."""
    import torch

    at = (torch.arange(SIDE, dtype=torch.float32) - MARGIN - 50) * imaging.pixel_scale
    return at - centre[0], at - centre[1]


def galaxies(imaging: ImagingSet, x: Tensor, y: Tensor, components: tuple[Sersic, ...], sky: Tensor) -> Tensor:
    """Flux of galaxies as they are: (bands, cells, cells)."""
    import torch

    finer, scale = FINER[imaging.name], imaging.pixel_scale
    total = torch.zeros(len(imaging.bands), SIDE, finer, SIDE, finer)
    for each in components:
        fluxes = 10 ** (-0.4 * torch.tensor(each.magnitudes))
        brightness, reach = _profile(each, float((FAINTEST * sky / fluxes).min()) / scale**2)
        rows, columns = _within(y, each.y, reach), _within(x, each.x, reach)
        light = brightness(x[None, columns], y[rows, None])[:, None, :, None].repeat(1, finer, 1, finer)
        inner_rows, inner_columns = _within(y[rows], each.y, CORE * scale), _within(x[columns], each.x, CORE * scale)
        inner_y, inner_x = y[rows][inner_rows], x[columns][inner_columns]
        points = brightness(
            _points(inner_x, CORE_POINTS, scale).reshape(1, -1), _points(inner_y, CORE_POINTS, scale).reshape(-1, 1)
        )
        light[inner_rows, :, inner_columns] = points.reshape(
            len(inner_y), finer, CORE_POINTS // finer, len(inner_x), finer, CORE_POINTS // finer
        ).mean((2, 5))
        for band, flux in enumerate(fluxes):
            total[band, rows, :, columns] += light * (flux * (scale / finer) ** 2)
    return total.reshape(len(imaging.bands), SIDE * finer, SIDE * finer)


def arcs(imaging: ImagingSet, x: Tensor, y: Tensor, lens: Lens, source: tuple[Sersic, ...], sky: Tensor) -> Tensor:
    """Flux of the first band of a source behind a lens: (cells, cells)."""
    import torch

    finer, scale = FINER[imaging.name], imaging.pixel_scale
    fluxes = [10 ** (-0.4 * each.magnitudes[0]) for each in source]
    profiles = [
        _profile(each, FAINTEST * float(sky[0]) / flux / scale**2) for each, flux in zip(source, fluxes, strict=True)
    ]
    source_x, source_y = _traced(lens, x.expand(SIDE, SIDE), y[:, None].expand(SIDE, SIDE))
    seen, bright = torch.zeros(2, SIDE, SIDE, dtype=torch.bool)
    for each, (_, reach) in zip(source, profiles, strict=True):
        distance = torch.hypot(source_x - each.x, source_y - each.y) - 2 * scale
        seen |= distance < reach
        bright |= distance < min(reach, 2 * each.radius)
    total = torch.zeros(SIDE, finer, SIDE, finer)
    for where, along in ((seen & ~bright, 2), (bright, ARC_POINTS[imaging.name])):
        for rows, columns in zip(*(at.split(CHUNK) for at in where.nonzero(as_tuple=True)), strict=True):
            fine_x = _points(x[columns], along, scale)[:, None, :].expand(-1, along, -1)
            fine_y = _points(y[rows], along, scale)[:, :, None].expand(-1, -1, along)
            traced = _traced(lens, fine_x, fine_y)
            light = torch.zeros(fine_x.shape)
            for flux, (brightness, _) in zip(fluxes, profiles, strict=True):
                light += flux * brightness(*traced)
            means = light.reshape(-1, finer, along // finer, finer, along // finer).mean((2, 4))
            total[rows, :, columns] = means * (scale / finer) ** 2
    return total.reshape(SIDE * finer, SIDE * finer)


def _traced(lens: Lens, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Where light seen at a position comes from: a singular isothermal ellipsoid with external shear."""
    import torch
    from caustics.func import reduced_deflection_angle_external_shear, reduced_deflection_angle_sie

    zero = torch.zeros(())
    q, phi, radius, gamma1, gamma2 = (
        torch.tensor(each) for each in (lens.q, lens.phi, lens.theta_e, lens.gamma1, lens.gamma2)
    )
    ax, ay = reduced_deflection_angle_sie(zero, zero, q, phi, radius, x, y, 1e-4)  # no core at all is NaN at the centre
    sx, sy = reduced_deflection_angle_external_shear(zero, zero, gamma1, gamma2, x, y)
    return x - ax - sx, y - ay - sy


def _profile(component: Sersic, faintest: float) -> tuple[Brightness, float]:
    """Brightness per square arcsecond of a component of flux 1, and how far out it is above `faintest`."""
    import torch
    from caustics.func import brightness_sersic, k_sersic

    values = (component.x, component.y, component.q, component.phi, component.n, component.radius)
    x0, y0, q, phi, n, radius = (torch.tensor(value, dtype=torch.float32) for value in values)
    k = k_sersic(n)
    # The whole profile's flux per unit of brightness at its radius (Graham & Driver 2005, equation 4).
    flux = 2 * torch.pi * radius**2 * q * n * torch.exp(k + torch.lgamma(2 * n)) * k ** (-2 * n)
    reach = float(radius * torch.clamp(1 - torch.log(faintest * flux) / k, min=0) ** n)

    def brightness(x: Tensor, y: Tensor) -> Tensor:
        light: Tensor = brightness_sersic(x0, y0, q, phi, n, radius, 1 / flux, x, y, k, SOFTENING)
        if component.pattern is not None:
            light = light * _pattern(component, component.pattern, x - x0, y - y0)
        return light

    return brightness, reach


def _pattern(component: Sersic, pattern: Pattern, x: Tensor, y: Tensor) -> Tensor:
    """By how much arms or a ring change a disk's brightness, at positions relative to its centre."""
    import torch

    c, s = np.cos(component.phi), np.sin(component.phi)
    u, v = x * c + y * s, (y * c - x * s) / component.q
    distance = torch.hypot(u, v) / component.radius
    if pattern.winding is None:
        ring = torch.exp(-0.5 * ((distance - 1) / RING_WIDTH) ** 2)
        return (1 + pattern.contrast * ring) / (1 + pattern.contrast * RING_SHARE)
    angle = 2 * (torch.atan2(v, u) - pattern.winding * torch.log(distance + 0.1)) - pattern.phase
    return 1 + pattern.contrast * torch.cos(angle)


def _within(at: Tensor, middle: float, reach: float) -> slice:
    """Those of ascending positions that are no farther than `reach` from `middle`."""
    first, last = (at < middle - reach).sum(), (at <= middle + reach).sum()
    return slice(int(first), int(last))


def _points(at: Tensor, along: int, scale: float) -> Tensor:
    """Positions within pixels: (pixels, along)."""
    import torch

    return at[:, None] + ((torch.arange(along, dtype=torch.float32) + 0.5) / along - 0.5) * scale
