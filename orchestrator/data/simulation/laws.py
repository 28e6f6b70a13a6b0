"""The numbers a population is drawn from, one value per set of the challenge.

They are fitted to the challenge's published training keys and cutouts; docs/decisions/simulation.md says how well.
Magnitudes have zero point 0 and are those of the first band; lengths are arcseconds.
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.data.challenge import GROUND, SPACE

COLOURS = {"red": (0.0, -0.70, 1.45, 3.1), "mid": (0.0, -0.40, 0.75, 1.7), "blue": (0.0, -0.15, 0.30, 0.75)}
"""Magnitude minus r, in the Ground set's bands R, I, G, U."""

COLOUR_SCATTER = (0.0, 0.12, 0.2, 0.4)


@dataclass(frozen=True)
class Laws:
    """What objects of one set are like.

    Attributes:
        lens_share: of all objects.
        theta_edges, theta_shares: histogram of Einstein radii, log-uniform within a bin.
        centrals: mixture of normal laws of the central galaxy's magnitude: share, mean, scatter.
        central_limits: its brightest and faintest.
        companions: how many others there are on average, and the mean and scatter of their magnitudes.
        knots: Einstein radii between which the next two are interpolated.
        source_magnitude: mean magnitude of the unlensed source, at the knots.
        lens_q_scatter: of the lens's axis ratio, at the knots.
        lens_q: mean axis ratio of the lens.
        source_scatter: of its magnitude.
        source_reach: how far from the lens it may lie, in extents of the caustic.
        source_radius: its mean half-light radius.
        source_slope: by how much a source one magnitude brighter is larger, in decades.
        source_radius_scatter: of its radius, in decades.
        source_n: range of its Sersic index.
        source_tail: share of sources that are brighter by a further magnitude and a half.
        near_blue: share of other objects with unlensed blue galaxies near the lens.
        offset: of the lens from the middle of the cutout, in pixels.
        resampled: share of objects whose noise is that of resampled survey images.
        resampled_offset: their offset.
        masked: share of objects with pixels without a measurement.
        fwhm: of each band's PSF.
        fwhm_scatter: relative.
    """

    lens_share: float
    theta_edges: tuple[float, ...]
    theta_shares: tuple[float, ...]
    centrals: tuple[tuple[float, float, float], ...]
    central_limits: tuple[float, float]
    companions: tuple[float, float, float]
    knots: tuple[float, ...]
    source_magnitude: tuple[float, ...]
    lens_q_scatter: tuple[float, ...]
    lens_q: float
    source_scatter: float
    source_reach: float
    source_radius: float
    source_slope: float
    source_radius_scatter: float
    source_n: tuple[float, float]
    source_tail: float
    near_blue: float
    offset: tuple[float, float]
    resampled: float
    resampled_offset: tuple[float, float]
    masked: float
    fwhm: tuple[float, ...]
    fwhm_scatter: float


LAWS = {
    SPACE.name: Laws(
        lens_share=0.6984,
        theta_edges=(0.15, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 4, 5, 6),
        theta_shares=(0.115, 0.134, 0.127, 0.098, 0.060, 0.100, 0.068, 0.106, 0.100, 0.082, 0.010),
        centrals=((0.9, 22.6, 1), (0.1, 20.2, 0.8)),
        central_limits=(18.5, 24.6),
        companions=(3, 25, 1),
        knots=(0.3, 1, 2, 4),
        source_magnitude=(24.9, 24.78, 24.3, 23.93),
        lens_q_scatter=(0.095, 0.095, 0.18, 0.18),
        lens_q=0.9,
        source_scatter=0.83,
        source_reach=2.0,
        source_radius=0.325,
        source_slope=0.125,
        source_radius_scatter=0.225,
        source_n=(0.5, 1.2),
        source_tail=0.11,
        near_blue=0.26,
        offset=(0, 0),
        resampled=0,
        resampled_offset=(0, 0),
        masked=0,
        fwhm=(0.18,),
        fwhm_scatter=0,
    ),
    GROUND.name: Laws(
        lens_share=0.4011,
        theta_edges=(0.3, 0.5, 0.75, 1, 1.5, 2, 3, 4, 5, 6),
        theta_shares=(0.156, 0.152, 0.103, 0.149, 0.084, 0.099, 0.120, 0.048, 0.090),
        centrals=((0.65, 21.9, 0.7), (0.35, 19.4, 0.9)),
        central_limits=(17, 23.4),
        companions=(1, 23.3, 0.9),
        knots=(0.4, 1, 2, 4),
        source_magnitude=(24.98, 24.44, 24.8, 24.78),
        lens_q_scatter=(0.145, 0.145, 0.34, 0.2),
        lens_q=0.74,
        source_scatter=1.2,
        source_reach=2.7,
        source_radius=0.4,
        source_slope=0.11,
        source_radius_scatter=0.2,
        source_n=(0.5, 1.2),
        source_tail=0.12,
        near_blue=0.15,
        offset=(-1, -1),
        resampled=0.15,
        resampled_offset=(0, 1),
        masked=0.15,
        fwhm=(0.67, 0.75, 0.80, 1.0),
        fwhm_scatter=0.08,
    ),
}
