"""What is read of some objects at once: the flux of those that can be scored, and a row about each."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from orchestrator.data.challenge import SIZE, ImagingSet
from orchestrator.data.quality import judge

MASKED, CROPPED, PADDED, BAD = "masked", "cropped", "padded", "bad"


@dataclass
class Row:
    """One object.

    Attributes:
        id: its name.
        path: its files, with a semicolon between them.
        ra: right ascension in degrees, or NaN.
        dec: declination likewise.
        masked: pixels without a measurement, of all bands; those that padding added are not counted.
        padding: pixels of each band that padding added.
        flags: see the constants above, and those of `orchestrator.data.quality`.
        reason: why it cannot be scored; empty where it can.
    """

    id: str
    path: str
    ra: float
    dec: float
    masked: int = 0
    padding: int = 0
    flags: list[str] = field(default_factory=list)
    reason: str = ""

    def fail(self, reason: str) -> None:
        """Say that it cannot be scored."""
        self.reason, self.flags = reason, [*self.flags, BAD]


@dataclass(frozen=True)
class Piece:
    """Rows, which of them can be scored, and the flux of these: (good, bands, SIZE, SIZE) float32 as in the files."""

    rows: list[Row]
    good: NDArray[np.bool_]
    flux: NDArray[np.float32]


def centred(bands: NDArray[np.float32], row: Row) -> NDArray[np.float32]:
    """Cut (bands, h, w) to SIZE around the middle, pixel h // 2; what is missing becomes NaN. It flags the row."""
    height, width = bands.shape[-2:]
    if height == width == SIZE:
        return bands
    if max(height, width) > SIZE:
        row.flags.append(CROPPED)
    if min(height, width) < SIZE:
        row.flags.append(PADDED)
    whole = np.full((len(bands), SIZE, SIZE), np.nan, np.float32)
    (to_y, from_y), (to_x, from_x) = _overlap(height), _overlap(width)
    whole[:, to_y, to_x] = bands[:, from_y, from_x]
    row.padding = SIZE * SIZE - (to_y.stop - to_y.start) * (to_x.stop - to_x.start)
    return whole


def finish(rows: list[Row], images: list[NDArray[np.float32]] | NDArray[np.float32], imaging: ImagingSet) -> Piece:
    """Put the images of the good rows together, and tell what is odd about each; one that says nothing is bad."""
    if isinstance(images, np.ndarray):
        flux = images
    else:
        flux = np.stack(images) if images else np.empty((0, len(imaging.bands), SIZE, SIZE), np.float32)
    readable = [row for row in rows if not row.reason]
    judged = judge(flux, [band.name for band in imaging.bands], [row.padding for row in readable])
    for row, quality in zip(readable, judged, strict=True):
        row.masked = sum(quality.masked)
        if row.masked:
            row.flags.append(MASKED)
        row.flags += quality.flags
        if quality.bad:
            row.fail(f"{row.path}: {quality.bad}")
    good = np.array([not row.reason for row in rows], bool)
    kept = [not row.reason for row in readable]
    return Piece(rows, good, flux if all(kept) else flux[kept])


def _overlap(length: int) -> tuple[slice, slice]:
    """Where a side of that length lies on one of SIZE, and which part of it: their middles meet."""
    shift = length // 2 - SIZE // 2
    first, last = max(0, -shift), min(SIZE, length - shift)
    return slice(first, last), slice(first + shift, last + shift)
