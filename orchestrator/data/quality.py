"""What is odd about cutouts: told in the same way whether they are scored, served, checked or packed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.data.challenge import MASKED, CutoutFiles, ImagingSet
from orchestrator.data.fits import read_cutout
from orchestrator.data.normalise import DAMAGED, unmeasured
from orchestrator.errors import UnreadableCutout

CONSTANT, COPIED, EDGE, SPARSE = "constant", "copied", "edge", "sparse"
"""Flags: one value in all of a band; two bands with the same pixels; one value along an edge; more than half of a band
without a measurement."""

RUN = 20
"""Pixels of one value next to each other along an edge: noise does not do that, not even in whole numbers."""


@dataclass(frozen=True)
class Quality:
    """What is odd about one object.

    Attributes:
        masked: pixels without a measurement, per band.
        flags: of the constants above, each once.
        notes: the same in words, with the bands.
        bad: why it says nothing of the sky at all, or empty.
    """

    masked: tuple[int, ...]
    flags: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    bad: str = ""


def read_judged(files: CutoutFiles, imaging: ImagingSet) -> tuple[NDArray[np.float32], Quality]:
    """Read an object of a release: (bands, SIZE, SIZE).

    Raises:
        UnreadableCutout: as `read_cutout`, and of one that says nothing of the sky.
    """
    pixels = read_cutout(files.paths)
    [quality] = judge(pixels[None], [band.name for band in imaging.bands])
    if quality.bad:
        raise UnreadableCutout(f"{files.paths[0]}: {quality.bad}")
    return pixels, quality


def judge(flux: NDArray[np.float32], names: Sequence[str], padding: Sequence[int] | None = None) -> list[Quality]:
    """Judge some objects.

    Args:
        flux: (n, bands, h, w) as the files hold it.
        names: of the bands.
        padding: how many pixels of each band of an object are NaN only because they were added around it.
    """
    if not len(flux):
        return []
    highest, lowest = flux.max(axis=(2, 3)), flux.min(axis=(2, 3))
    # Most objects have nothing of it, which takes a tenth of the time to find out.
    doubtful = ~((highest < MASKED) & (lowest > -DAMAGED) & (highest > lowest)).all(axis=1)
    doubtful |= _edges(flux).any(axis=(1, 2))
    for band in range(1, flux.shape[1]):
        doubtful |= (flux[:, :band, 0] == flux[:, band, None, 0]).all(axis=2).any(axis=1)
    sound = Quality((0,) * flux.shape[1])
    each_padding = padding or [0] * len(flux)
    return [
        _judge(bands, names, added) if doubt else sound
        for bands, doubt, added in zip(flux, doubtful, each_padding, strict=True)
    ]


def _judge(bands: NDArray[np.float32], names: Sequence[str], padding: int) -> Quality:
    without = unmeasured(bands)
    pixels = bands[0].size - padding
    masked = without.sum(axis=(1, 2)) - padding
    edges = _edges(bands[None])[0]
    found: list[tuple[str, str]] = []
    empty, constant = [], []
    for n, name in enumerate(names):
        measured = bands[n][~without[n]]
        twin = next((m for m in range(n) if np.array_equal(bands[m], bands[n], equal_nan=True)), None)
        if twin is not None:
            found.append((COPIED, f"band {name} holds the same pixels as {names[twin]}"))
        if not measured.size:
            empty.append(name)
        elif (measured == measured[0]).all():
            constant.append(name)
            found.append((CONSTANT, f"band {name} is constant"))
        elif edges[n].any():
            found.append((EDGE, f"band {name} has one value along its {_named(edges[n])}"))
        if pixels / 2 < masked[n] < pixels:
            found.append((SPARSE, f"band {name} has a measurement in {measured.size:,} of {pixels:,} pixels"))
    bad = ""
    if empty:
        bad = f"not one pixel with a measurement in {', '.join(empty)}"
    elif len(constant) == len(names):
        bad = f"one value in all of {', '.join(names)}"
    flags = tuple(dict.fromkeys(flag for flag, _ in found))
    return Quality(tuple(map(int, masked)), flags, tuple(note for _, note in found), bad)


def _edges(flux: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether the first and last row and column of images (n, bands, h, w) hold one value over `RUN` pixels: (…, 4)."""
    edges = (flux[..., 0, :], flux[..., -1, :], flux[..., :, 0], flux[..., :, -1])
    return np.stack([_runs(edge) for edge in edges], axis=-1)


def _runs(lines: NDArray[np.float32]) -> NDArray[np.bool_]:
    # Masks are told by their number; where NaN is, nothing is equal.
    same = (lines[..., 1:] == lines[..., :-1]) & (lines[..., 1:] != MASKED)
    total = np.zeros((*same.shape[:-1], same.shape[-1] + 1), np.int16)
    np.cumsum(same, axis=-1, out=total[..., 1:])
    found: NDArray[np.bool_] = (total[..., RUN - 1 :] - total[..., : -(RUN - 1)] == RUN - 1).any(axis=-1)
    return found


def _named(edges: NDArray[np.bool_]) -> str:
    sides = ("lower", "upper", "left", "right")
    found = [side for side, there in zip(sides, edges, strict=True) if there]
    return f"{', '.join(found)} edge{'s' * (len(found) > 1)}"
