"""Reads listed cutouts from their FITS files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from orchestrator.data.challenge import ImagingSet
from orchestrator.data.fits import Frame, TileCompressed, Unit, read_frames
from orchestrator.data.isolated import Isolated
from orchestrator.data.position import position
from orchestrator.data.sources.listing import Entry, Listing, shown
from orchestrator.data.sources.pieces import Piece, Row, centred, finish
from orchestrator.errors import UnreadableCutout


@dataclass(frozen=True)
class Files:
    """Objects in FITS files: one a band, or one with all bands: in HDUs of their names, a cube, or as `units` says."""

    listing: Listing
    imaging: ImagingSet
    units: tuple[Unit, ...]
    resize: bool
    _isolated: Isolated = field(default_factory=Isolated, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.listing)

    def digest(self) -> str:
        """Of all names and positions; not of what the files hold."""
        return self.listing.digest()

    def state(self, start: int, stop: int) -> str:
        """Of the sizes and times of some objects' files; a changed file has another."""
        digest = hashlib.sha256()
        for entry in self.listing.entries(start, stop):
            for path in filter(None, entry.paths):
                try:
                    stat = os.stat(path)  # noqa: PTH116 - a Path would cost several times as much
                    digest.update(f"{stat.st_size} {stat.st_mtime_ns}\n".encode())
                except (OSError, ValueError):
                    digest.update(b"none\n")
        return digest.hexdigest()[:16]

    def read(self, start: int, stop: int) -> Piece:
        """Read some of the objects."""
        return self.read_entries(self.listing.entries(start, stop))

    def read_entries(self, entries: Sequence[Entry]) -> Piece:
        """Read objects, listed here or elsewhere."""
        rows, images = [], []
        for entry in entries:
            row = Row(shown(entry.id), shown(";".join(each or "" for each in entry.paths)), *entry.position)
            rows.append(row)
            try:
                images.append(self._object(entry, row))
            except UnreadableCutout as error:
                row.fail(shown(str(error)))
        return finish(rows, images, self.imaging)

    def _object(self, entry: Entry, row: Row) -> NDArray[np.float32]:
        """All bands of an object: (bands, SIZE, SIZE); its position goes into the row, unless one was listed."""
        names = [band.name for band in self.imaging.bands]
        missing = [name for name, path in zip(names, entry.paths, strict=False) if not path]
        if missing:
            raise UnreadableCutout(f"{entry.id}: no file for {', '.join(missing)}")
        paths = [Path(path) for path in entry.paths if path]
        if len(paths) < len(names):
            frames = self._frames(paths[0], self.units or names, tuple(names))
        else:
            units = self.units * len(names) if len(self.units) == 1 else self.units or (None,) * len(names)
            frames = [frame for path, unit in zip(paths, units, strict=True) for frame in self._frames(path, [unit])]
        if np.isnan([row.ra, row.dec]).any():
            row.ra, row.dec = position(frames[0].header)
        shapes = {frame.image.shape for frame in frames}
        if len(shapes) > 1:
            told = ", ".join(" x ".join(map(str, shape)) for shape in sorted(shapes))
            raise UnreadableCutout(f"{paths[0]}: bands of several sizes: {told}")
        return centred(np.stack([frame.image for frame in frames]), row)

    def _frames(self, path: Path, units: Sequence[Unit], planes: Sequence[str] = ()) -> list[Frame]:
        try:
            return read_frames(path, units, any_size=self.resize, planes=planes)
        except TileCompressed:
            return self._isolated.read_frames(path, units, self.resize, planes)
