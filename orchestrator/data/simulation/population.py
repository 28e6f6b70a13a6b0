"""Draws what is in a cutout: a foreground of one law for both classes, and for a lens a source behind it.

The laws are fitted to the challenge's published key and cutouts; docs/decisions/simulation.md says how well.
Magnitudes have zero point 0; lengths are arcseconds, angles radians, positions relative to the cutout's centre.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from orchestrator.data.challenge import SPACE, ImagingSet

LENS_SHARE = {"space": 0.6984, "ground": 0.4011}
"""Share of lenses in the challenge's training sets."""

EINSTEIN_RADII = {
    "space": (
        (0.15, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 4, 5, 6),
        (0.115, 0.134, 0.127, 0.098, 0.060, 0.100, 0.068, 0.106, 0.100, 0.082, 0.010),
    ),
    "ground": (
        (0.3, 0.5, 0.75, 1, 1.5, 2, 3, 4, 5, 6),
        (0.156, 0.152, 0.103, 0.149, 0.084, 0.099, 0.120, 0.048, 0.090),
    ),
}
"""Edges and shares of the key's histogram of Einstein radii; the same law for both classes."""

SOURCE_MAGNITUDE = {"space": (24.0, 1.25), "ground": (22.7, 1.2)}
"""Mean and scatter of the unlensed source."""

COLOURS = {"red": (0.0, -0.70, 1.45, 3.1), "mid": (0.0, -0.40, 0.75, 1.7), "blue": (0.0, -0.15, 0.30, 0.75)}
"""Magnitude minus r, in the Ground set's bands R, I, G, U."""


@dataclass(frozen=True)
class Sersic:
    """One elliptical component; `magnitudes` are of the set's bands."""

    x: float
    y: float
    q: float
    phi: float
    n: float
    radius: float
    magnitudes: tuple[float, ...]


@dataclass(frozen=True)
class Scene:
    """One object, before any pixel.

    Attributes:
        index: from 0 in its set.
        is_lens: whether a source lies behind it.
        theta_e: Einstein radius.
        q, phi, gamma1, gamma2: axis ratio and angle of the singular isothermal ellipsoid, external shear.
        foreground: components that are not lensed.
        source: components that are, with unlensed positions and magnitudes.
        noise_scale: sky noise, in units of the set's own.
        correlated: whether the noise is that of resampled survey images.
        fwhm: of each band's PSF.
        mask: corner, height and width of a box without measurements, and its band; None for most.
        seed: of the noise.
    """

    index: int
    is_lens: bool
    theta_e: float
    q: float
    phi: float
    gamma1: float
    gamma2: float
    foreground: tuple[Sersic, ...]
    source: tuple[Sersic, ...]
    near_blue: int
    noise_scale: float
    correlated: bool
    fwhm: tuple[float, ...]
    mask: tuple[int, int, int, int, int] | None
    seed: np.random.SeedSequence


def draw(imaging: ImagingSet, seed: int, index: int, difficulty: float) -> Scene:
    """Draw one object; it depends on nothing but the arguments."""
    label, parameters, noise = np.random.SeedSequence([seed, zlib.crc32(imaging.name.encode()), index]).spawn(3)
    is_lens = bool(np.random.Generator(np.random.Philox(label)).random() < LENS_SHARE[imaging.name])
    rng = np.random.Generator(np.random.Philox(parameters))
    theta_e = _einstein_radius(imaging, rng)
    q, phi = float(np.clip(rng.normal(0.75, 0.15), 0.35, 0.98)), float(rng.uniform(0, np.pi))
    foreground = (*_central(imaging, rng, q, phi), *_companions(imaging, rng))
    correlated = imaging != SPACE and bool(rng.random() < 0.15)
    noise_scale = float(rng.uniform(1.5, 2.7)) if correlated else float(rng.normal(1, 0.03))
    fwhm = (0.18,) if imaging == SPACE else tuple(f * float(rng.normal(1, 0.08)) for f in (0.68, 0.80, 0.85, 1.0))
    mask = _mask(rng) if imaging != SPACE and rng.random() < 0.03 else None
    gamma1, gamma2 = (float(each) for each in np.abs(rng.normal(0, 0.04, 2)) * rng.choice([-1, 1], 2))
    source, near_blue = (), 0
    if is_lens:
        source = _source(imaging, rng, difficulty, *_inside(rng, 0.9 * theta_e))
    elif rng.random() < 0.15:
        near_blue = int(rng.integers(1, 4))
        for _ in range(near_blue):
            angle, distance = rng.uniform(0, 2 * np.pi), theta_e * rng.uniform(0.6, 1.5)
            blue = _source(imaging, rng, difficulty - 0.5, distance * np.cos(angle), distance * np.sin(angle))
            foreground += blue
    return Scene(
        index, is_lens, theta_e, q, phi, gamma1, gamma2, foreground, source, near_blue,
        noise_scale, correlated, fwhm, mask, noise,
    )  # fmt: skip


def _einstein_radius(imaging: ImagingSet, rng: np.random.Generator) -> float:
    edges, share = EINSTEIN_RADII[imaging.name]
    drawn = rng.choice(len(share), p=np.array(share) / sum(share))
    return float(np.exp(rng.uniform(np.log(edges[drawn]), np.log(edges[drawn + 1]))))


def _central(imaging: ImagingSet, rng: np.random.Generator, q: float, phi: float) -> tuple[Sersic, ...]:
    if imaging == SPACE:
        bright = rng.random() < 0.06
        m = np.clip(rng.normal(20.2, 0.6) if bright else rng.normal(22, 1), 19, 24.2)
    else:
        bright = rng.random() < 0.40
        m = np.clip(rng.normal(19.5, 0.8) if bright else rng.normal(21.9, 0.6), 17.5, 23.2)
    radius = 0.75 * 10 ** (-0.18 * (m - 20.5) + rng.normal(0, 0.15))
    x, y = rng.normal(0, 0.02, 2)
    if rng.random() < 0.20:  # a late type: bulge and disk
        bulge = rng.uniform(0.15, 0.5)
        sides = _magnitudes(imaging, m - 2.5 * np.log10(bulge), "red", rng)
        disk = _magnitudes(imaging, m - 2.5 * np.log10(1 - bulge), "mid", rng)
        parts = [
            Sersic(x, y, min(0.95, q + 0.1), phi, 3.0, 0.4 * radius, sides),
            Sersic(x, y, q, phi, 1.0, 1.3 * radius, disk),
        ]
    else:
        n = float(np.clip(rng.normal(4, 1), 2, 6))
        parts = [Sersic(x, y, q, phi, n, radius, _magnitudes(imaging, m, "red", rng))]
    if rng.random() < 0.06:  # a merging partner
        px, py = _inside(rng, 1.5 * radius + 0.3)
        parts.append(_galaxy(imaging, rng, m + rng.uniform(0.3, 2), px, py))
    return tuple(parts)


def _companions(imaging: ImagingSet, rng: np.random.Generator) -> tuple[Sersic, ...]:
    half = 50 * imaging.pixel_scale
    mean = 23.4 if imaging == SPACE else 22.1
    found = []
    for _ in range(rng.poisson(2.2)):
        clustered = rng.random() < 0.35
        x, y = rng.normal(0, half / 3, 2) if clustered else rng.uniform(-half, half, 2)
        found.append(_galaxy(imaging, rng, rng.normal(mean, 1), float(x), float(y)))
    return tuple(found)


def _galaxy(imaging: ImagingSet, rng: np.random.Generator, m: float, x: float, y: float) -> Sersic:
    colour = str(rng.choice(list(COLOURS), p=[0.4, 0.35, 0.25]))
    radius = 0.6 * 10 ** (-0.16 * (m - 21) + rng.normal(0, 0.15))
    q, phi, n = rng.uniform(0.4, 0.98), rng.uniform(0, np.pi), rng.uniform(1, 4)
    return Sersic(x, y, float(q), float(phi), float(n), float(radius), _magnitudes(imaging, m, colour, rng))


def _source(imaging: ImagingSet, rng: np.random.Generator, difficulty: float, x: float, y: float) -> tuple[Sersic, ...]:
    mean, scatter = SOURCE_MAGNITUDE[imaging.name]
    m = rng.normal(mean, scatter) + difficulty
    colour = _magnitudes(imaging, 0, "blue", rng)
    radius = 0.22 * 10 ** rng.normal(0, 0.18)
    clumps = int(rng.integers(0, 5))
    in_clumps = rng.uniform(0.2, 0.6) if clumps else 0.0
    q, phi, n = rng.uniform(0.4, 0.95), rng.uniform(0, np.pi), rng.uniform(0.7, 2)
    main = m - 2.5 * np.log10(1 - in_clumps)
    parts = [Sersic(x, y, q, phi, n, radius, tuple(main + c for c in colour))]
    for _ in range(clumps):
        faint = m - 2.5 * np.log10(in_clumps / clumps)
        cx, cy = rng.normal(0, 0.6 * radius, 2)
        parts.append(Sersic(x + cx, y + cy, 0.8, phi, 1.0, 0.25 * radius, tuple(faint + c for c in colour)))
    return tuple(parts)


def _magnitudes(imaging: ImagingSet, m: float, colour: str, rng: np.random.Generator) -> tuple[float, ...]:
    if imaging == SPACE:
        return (float(m),)
    scatter = rng.normal(0, (0, 0.12, 0.2, 0.4))
    return tuple(float(m + c + s) for c, s in zip(COLOURS[colour], scatter, strict=True))


def _inside(rng: np.random.Generator, radius: float) -> tuple[float, float]:
    angle, distance = rng.uniform(0, 2 * np.pi), radius * np.sqrt(rng.random())
    return float(distance * np.cos(angle)), float(distance * np.sin(angle))


def _mask(rng: np.random.Generator) -> tuple[int, int, int, int, int]:
    height, width = rng.integers(3, 15, 2)
    return int(rng.integers(0, 87)), int(rng.integers(0, 87)), int(height), int(width), int(rng.integers(0, 4))
