"""Draws what is in a cutout: a foreground of one law for both classes, and for a lens a source behind it.

Magnitudes have zero point 0; lengths are arcseconds, angles radians, positions relative to the lens.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace

import numpy as np

from orchestrator.data.challenge import SIZE, SPACE, ImagingSet
from orchestrator.data.simulation.laws import COLOUR_SCATTER, COLOURS, LAWS, Laws


@dataclass(frozen=True)
class Pattern:
    """What brightens a disk: two spiral arms, or one ring at its half-light radius; the flux stays.

    Attributes:
        contrast: of the arms, from 0 to 1, or of the ring.
        winding: of the arms, in radians for every factor e of radius; None for a ring.
        phase: of the arms, at the half-light radius.
    """

    contrast: float
    winding: float | None = None
    phase: float = 0.0


@dataclass(frozen=True)
class Sersic:
    """One elliptical component; `magnitudes` are of the set's bands, `radius` is the half-light semi-major axis."""

    x: float
    y: float
    q: float
    phi: float
    n: float
    radius: float
    magnitudes: tuple[float, ...]
    pattern: Pattern | None = None


@dataclass(frozen=True)
class Lens:
    """A singular isothermal ellipsoid at the origin, with external shear."""

    theta_e: float
    q: float
    phi: float
    gamma1: float
    gamma2: float

    @property
    def caustic(self) -> float:
        """How far the tangential caustic reaches, to first order in ellipticity and shear."""
        return self.theta_e * (2 / 3 * (1 - self.q) + 2 * float(np.hypot(self.gamma1, self.gamma2)))


@dataclass(frozen=True)
class Scene:
    """One object, before any pixel.

    Attributes:
        is_lens: whether a source lies behind it.
        lens: what a source would be lensed by; others have one too.
        centre: of the lens, from the middle of the cutout.
        kind: of the central galaxy.
        magnitude: of the central galaxy, in the first band.
        foreground: components that are not lensed.
        source: components that are, with unlensed positions and magnitudes, all of one colour.
        source_magnitude: of all of the source, in the first band; infinite without one.
        near_blue: unlensed blue galaxies that lie where images of a source might.
        noise_scale: sky noise of each band, in units of the set's own.
        resampling: weights of the next pixel and of the one after it in resampled noise; None where it is white.
        fwhm: of each band's PSF.
        mask: top, left, height and width of a box without measurements, and its band; None for most.
        seed: of the noise.
    """

    is_lens: bool
    lens: Lens
    centre: tuple[float, float]
    kind: str
    magnitude: float
    foreground: tuple[Sersic, ...]
    source: tuple[Sersic, ...]
    source_magnitude: float
    near_blue: int
    noise_scale: tuple[float, ...]
    resampling: tuple[float, float] | None
    fwhm: tuple[float, ...]
    mask: tuple[int, int, int, int, int] | None
    seed: np.random.SeedSequence


def draw(imaging: ImagingSet, seed: int, index: int, difficulty: float) -> Scene:
    """Draw one object; it depends on nothing but the arguments.

    Each of its parts has a random stream of its own, so that the foreground is the same whatever the label.
    """
    streams = np.random.SeedSequence([seed, zlib.crc32(imaging.name.encode()), index]).spawn(4)
    label, foreground, behind = (np.random.Generator(np.random.Philox(each)) for each in streams[:3])
    laws = LAWS[imaging.name]
    scene = _foreground(imaging, laws, foreground, streams[3])
    if label.random() < laws.lens_share:
        x, y = _inside(behind, laws.source_reach * scene.lens.caustic)
        magnitude, source = _source(imaging, laws, behind, scene.lens.theta_e, difficulty, x, y)
        return replace(scene, is_lens=True, source=source, source_magnitude=magnitude)
    if behind.random() < laws.near_blue:
        return _near_blue(imaging, laws, behind, scene, difficulty)
    return scene


def _foreground(imaging: ImagingSet, laws: Laws, rng: np.random.Generator, noise: np.random.SeedSequence) -> Scene:
    lens = _lens(laws, rng)
    kind, magnitude, central = _central(imaging, laws, rng, lens)
    bands = len(imaging.bands)
    resampled = bool(rng.random() < laws.resampled)
    scale = rng.uniform(2.3, 3.6, bands) if resampled else rng.normal(1, 0.01, bands)
    offset = laws.resampled_offset if resampled else laws.offset
    centre = imaging.pixel_scale * (np.array(offset) + rng.normal(0, 0.2, 2))
    fwhm = np.array(laws.fwhm) * rng.normal(1, laws.fwhm_scatter, bands)
    return Scene(
        is_lens=False,
        lens=lens,
        centre=(float(centre[0]), float(centre[1])),
        kind=kind,
        magnitude=magnitude,
        foreground=(*central, *_companions(imaging, laws, rng)),
        source=(),
        source_magnitude=float("inf"),
        near_blue=0,
        noise_scale=tuple(float(each) for each in scale),
        resampling=(float(rng.uniform(0.08, 0.13)), -0.05) if resampled else None,
        fwhm=tuple(float(each) for each in fwhm),
        mask=_mask(rng, bands) if rng.random() < laws.masked else None,
        seed=noise,
    )


def _lens(laws: Laws, rng: np.random.Generator) -> Lens:
    shares = np.array(laws.theta_shares)
    drawn = rng.choice(len(shares), p=shares / shares.sum())
    theta_e = float(np.exp(rng.uniform(np.log(laws.theta_edges[drawn]), np.log(laws.theta_edges[drawn + 1]))))
    scatter = np.interp(np.log(theta_e), np.log(laws.knots), laws.lens_q_scatter)
    q = float(np.clip(rng.normal(laws.lens_q, scatter), 0.25, 0.98))
    gamma1, gamma2 = rng.normal(0, 0.04, 2)
    return Lens(theta_e, q, float(rng.uniform(0, np.pi)), float(gamma1), float(gamma2))


def _central(
    imaging: ImagingSet, laws: Laws, rng: np.random.Generator, lens: Lens
) -> tuple[str, float, tuple[Sersic, ...]]:
    shares, means, scatters = zip(*laws.centrals, strict=True)
    drawn = rng.choice(len(shares), p=shares)
    m = float(np.clip(rng.normal(means[drawn], scatters[drawn]), *laws.central_limits))
    radius = 0.75 * 10 ** (-0.18 * (m - 20.5) + rng.normal(0, 0.15))
    q, phi = float(np.clip(rng.normal(0.75, 0.15), 0.35, 0.98)), lens.phi + float(rng.normal(0, 0.15))
    if rng.random() < 0.20:
        kind = str(rng.choice(["disk", "ring", "spiral"], p=[0.3, 0.25, 0.45]))
        pattern = {
            "disk": None,
            "ring": Pattern(rng.uniform(1, 4)),
            "spiral": Pattern(rng.uniform(0.4, 0.9), rng.uniform(1.5, 4), rng.uniform(0, 2 * np.pi)),
        }[kind]
        bulge = rng.uniform(0.15, 0.5)
        inner = _magnitudes(imaging, m - 2.5 * np.log10(bulge), "red", rng)
        outer = _magnitudes(imaging, m - 2.5 * np.log10(1 - bulge), "mid", rng)
        parts = [
            Sersic(0, 0, min(0.95, q + 0.1), phi, 3.0, 0.4 * radius, inner),
            Sersic(0, 0, q, phi, 1.0, 1.3 * radius, outer, pattern),
        ]
    else:
        kind = "elliptical"
        n = float(np.clip(rng.normal(4, 1), 2, 6))
        parts = [Sersic(0, 0, q, phi, n, radius, _magnitudes(imaging, m, "red", rng))]
    if rng.random() < 0.06:  # a merging partner
        parts.append(_galaxy(imaging, rng, m + rng.uniform(0.3, 2), *_inside(rng, 1.5 * radius + 0.3)))
    return kind, m, tuple(parts)


def _companions(imaging: ImagingSet, laws: Laws, rng: np.random.Generator) -> tuple[Sersic, ...]:
    half = SIZE / 2 * imaging.pixel_scale
    number, mean, scatter = laws.companions
    found = []
    for _ in range(rng.poisson(number)):
        clustered = rng.random() < 0.35
        x, y = rng.normal(0, half / 3, 2) if clustered else rng.uniform(-half, half, 2)
        found.append(_galaxy(imaging, rng, rng.normal(mean, scatter), float(x), float(y)))
    return tuple(found)


def _galaxy(imaging: ImagingSet, rng: np.random.Generator, m: float, x: float, y: float) -> Sersic:
    colour = str(rng.choice(list(COLOURS), p=[0.4, 0.35, 0.25]))
    radius = 0.6 * 10 ** (-0.16 * (m - 21) + rng.normal(0, 0.15))
    q, phi, n = rng.uniform(0.4, 0.98), rng.uniform(0, np.pi), rng.uniform(1, 4)
    return Sersic(x, y, float(q), float(phi), float(n), float(radius), _magnitudes(imaging, m, colour, rng))


def _source(
    imaging: ImagingSet, laws: Laws, rng: np.random.Generator, theta_e: float, difficulty: float, x: float, y: float
) -> tuple[float, tuple[Sersic, ...]]:
    mean = np.interp(np.log(theta_e), np.log(laws.knots), laws.source_magnitude)
    brighter = rng.normal(0, laws.source_scatter) + 1.5 * (rng.random() < laws.source_tail)
    m = float(mean - brighter + difficulty)
    colour = _magnitudes(imaging, 0, "blue", rng)
    radius = laws.source_radius * 10 ** (laws.source_slope * brighter + rng.normal(0, laws.source_radius_scatter))
    clumps = int(rng.integers(0, 5))
    in_clumps = rng.uniform(0.2, 0.6) if clumps else 0.0
    q, phi, n = rng.uniform(0.4, 0.95), rng.uniform(0, np.pi), rng.uniform(*laws.source_n)
    main = m - 2.5 * np.log10(1 - in_clumps)
    parts = [Sersic(x, y, q, phi, n, radius, tuple(main + c for c in colour))]
    for _ in range(clumps):
        faint = m - 2.5 * np.log10(in_clumps / clumps)
        cx, cy = rng.normal(0, 0.6 * radius, 2)
        parts.append(Sersic(x + cx, y + cy, 0.8, phi, 1.0, 0.4 * radius, tuple(faint + c for c in colour)))
    return m, tuple(parts)


def _near_blue(imaging: ImagingSet, laws: Laws, rng: np.random.Generator, scene: Scene, difficulty: float) -> Scene:
    theta_e, number = scene.lens.theta_e, int(rng.integers(1, 4))
    blue: list[Sersic] = []
    for _ in range(number):
        angle, distance = rng.uniform(0, 2 * np.pi), theta_e * rng.uniform(0.6, 1.5)
        x, y = distance * np.cos(angle), distance * np.sin(angle)
        blue += _source(imaging, laws, rng, theta_e, difficulty - 0.5, x, y)[1]
    return replace(scene, foreground=(*scene.foreground, *blue), near_blue=number)


def _magnitudes(imaging: ImagingSet, m: float, colour: str, rng: np.random.Generator) -> tuple[float, ...]:
    if imaging == SPACE:
        return (float(m),)
    scatter = rng.normal(0, COLOUR_SCATTER)
    return tuple(float(m + c + s) for c, s in zip(COLOURS[colour], scatter, strict=True))


def _inside(rng: np.random.Generator, radius: float) -> tuple[float, float]:
    angle, distance = rng.uniform(0, 2 * np.pi), radius * np.sqrt(rng.random())
    return float(distance * np.cos(angle)), float(distance * np.sin(angle))


def _mask(rng: np.random.Generator, bands: int) -> tuple[int, int, int, int, int]:
    height, width = (int(each) for each in rng.integers(3, 15, 2))
    top, left = int(rng.integers(0, SIZE - height)), int(rng.integers(0, SIZE - width))
    return top, left, height, width, int(rng.integers(0, bands))
