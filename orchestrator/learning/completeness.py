"""Which lenses are found: the true-positive rate by how large, extended and bright their arcs are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.learning.bootstrap import share
from orchestrator.learning.metrics import Roc, at_half

Floats = NDArray[np.float64]

BINS = 8
ARCSECONDS = 180 * 3600 / np.pi
"""In a radian."""


@dataclass(frozen=True)
class Quantity:
    """What lenses are binned by: what it is called, and the columns of a catalogue that have it, the first first."""

    title: str
    columns: Mapping[str, Callable[[Floats], Floats]]


def _as_it_is(values: Floats) -> Floats:
    return values


def _radius(area: Floats) -> Floats:
    """Arcseconds of the circle of that area in steradians; no area is no radius."""
    radius: Floats = ARCSECONDS * np.sqrt(np.where(area > 0, area, np.nan) / np.pi)
    return radius


QUANTITIES = {
    "einstein_radius": Quantity("Einstein radius (arcsec)", {"theta_E": _as_it_is, "Einstein_area": _radius}),
    "lensed_pixels": Quantity("pixels of the lensed image above 1σ", {"numb_pix_lensed_image": _as_it_is}),
    "arc_flux": Quantity(
        "flux of the lensed image in units of the pixel noise", {"flux_lensed_image_in_sigma": _as_it_is}
    ),
    "arc_snr": Quantity("signal-to-noise ratio of the arcs", {"arc_snr": _as_it_is}),
}
"""Of the challenge's training key (Einstein_area in steradians), and of the truth that our simulation writes."""


@dataclass(frozen=True)
class Bin:
    """Lenses of which a quantity is from `low` to `high`, those found, and the interval of their share.

    It is of the threshold that the test set gives, and exact (`orchestrator.learning.bootstrap.share`).
    """

    low: float
    high: float
    lenses: int
    found: int
    lowest: float
    highest: float


def completeness(columns: Mapping[str, Floats], logits: Floats, curve: Roc) -> dict[str, dict[str, list[Bin]]]:
    """Bin the lenses of a test set by every quantity that is known of them.

    Args:
        columns: name → (n,) of a catalogue, of the lenses alone; NaN where unknown.
        logits: (n,) of the lenses.
        curve: of all objects, lenses and others; it says which logits are accepted.

    Returns:
        Quantity → ``tpr`` (at probability 0.5) and ``tpr10`` (with ten false positives at most) → bins of about as
        many lenses each.
    """
    corners = {"tpr": at_half(curve), "tpr10": int(np.searchsorted(curve.false_positives, 10, side="right")) - 1}
    binned = {}
    for name, values in _known(columns):
        binned[name] = {metric: _bins(values, logits >= curve.thresholds[corner]) for metric, corner in corners.items()}
    return binned


def _known(columns: Mapping[str, Floats]) -> Iterator[tuple[str, Floats]]:
    for name, quantity in QUANTITIES.items():
        for column, convert in quantity.columns.items():
            if column in columns and np.isfinite(converted := convert(columns[column])).any():
                yield name, converted
                break


def _bins(values: Floats, found: NDArray[np.bool_]) -> list[Bin]:
    known = np.isfinite(values)
    values, found = values[known], found[known]
    highest = np.quantile(values, np.linspace(0, 1, BINS + 1)[1:])
    which = np.searchsorted(highest, values)  # equal values share a bin
    bins = []
    for number in np.unique(which):
        here = which == number
        lenses, right = int(here.sum()), int(found[here].sum())
        bins.append(Bin(float(values[here].min()), float(values[here].max()), lenses, right, *share(right, lenses)))
    return bins
