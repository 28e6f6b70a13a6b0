"""Reads cutouts from a dataset of an HDF5 file."""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from orchestrator.data.challenge import SIZE, ImagingSet
from orchestrator.data.columns import IDS, Column, agreed, column, named, pairs
from orchestrator.data.fits import Unit
from orchestrator.data.normalise import unmasked
from orchestrator.data.sources.listing import BLOCK, RECENT
from orchestrator.data.sources.pieces import Piece, Row, centred, finish
from orchestrator.data.tables import find
from orchestrator.errors import DataError, one_of

if TYPE_CHECKING:
    import h5py

CACHE = 1 << 30
"""Bytes of chunks, decompressed, that are kept at most."""


class Beside(NamedTuple):
    """Names and positions, (2, n) in degrees, NaN where unknown, of a block of images."""

    names: Sequence[str]
    positions: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Stack:
    """The images of one dataset (n, bands, h, w), or (n, h, w) of one band, opened.

    Attributes:
        path: of the file.
        imaging: whose cutouts they are.
        images: the dataset.
        ids: that of their identifiers; without one they are places from 0 on, in brackets where others have one.
        places: those of right ascensions and declinations.
        named: see `columns.named`.
    """

    path: Path
    imaging: ImagingSet
    images: h5py.Dataset
    ids: h5py.Dataset | None
    places: Sequence[tuple[h5py.Dataset, h5py.Dataset]]
    named: Callable[[Column], list[str | None]] = Column.names
    _recent: dict[int, Beside] = field(default_factory=dict, repr=False)

    @classmethod
    def open(cls, path: Path, imaging: ImagingSet, units: tuple[Unit, ...], resize: bool) -> Stack:
        """Find the images of a file, and `IDS` and `POSITIONS` in their group, or else in the groups above it.

        Raises:
            DataError: no HDF5 file, no such dataset, images that the model does not take, or datasets beside them that
                hold no identifiers or positions.
        """
        import h5py

        try:
            with h5py.File(path, "r") as file:
                images = _images(_datasets(file), units, path)
                _check_shape(images, imaging, resize, path)
                name, access = images.name.encode(), _access(images)
            file = h5py.File(path, "r")
            images = h5py.Dataset(h5py.h5d.open(file.id, name, access))  # whoever opens it first decides
            found = _datasets(file)
            groups = list(_groups(found, images, path))
            ids = next((each for group in groups if (each := group(*IDS)) is not None), None)
            places = next((there for group in groups if (there := pairs(group))), [])
            for each in (*([] if ids is None else [ids]), *(each for pair in places for each in pair)):
                _column(path, each, 0, 1)  # refuses what is no column
                if len(each) != len(images):
                    raise DataError(f"{path}: {len(images)} images, and {len(each)} values of {each.name}")
            pieces = (
                () if ids is None else (_column(path, ids, start, start + BLOCK) for start in range(0, len(ids), BLOCK))
            )
            stack = cls(path, imaging, images, ids, places, named(pieces))
            for number in range(-(-len(images) // BLOCK)):
                stack._beside(number)
        except DataError:
            raise
        except Exception as error:  # h5py answers bad files with many kinds
            raise DataError(f"{path}: not a readable HDF5 file ({(str(error).splitlines() or [''])[0]})") from None
        return stack

    def __len__(self) -> int:
        return len(self.images)

    def digest(self) -> str:
        """Of the file's name, and which dataset it is; not of what it holds."""
        about = f"{self.path.resolve()} {self.images.name} {len(self)}"
        return hashlib.sha256(about.encode()).hexdigest()

    def state(self, start: int, stop: int) -> str:
        """Of the size and time of the file; a changed one has another."""
        stat = self.path.stat()
        return f"{stat.st_size} {stat.st_mtime_ns}"

    def read(self, start: int, stop: int) -> Piece:
        """Read some of the objects."""
        rows = [self._row(place) for place in range(start, stop)]
        try:
            flux = self._flux(start, stop)
            whole = flux.shape[-2:] == (SIZE, SIZE)
            images = flux if whole else [centred(bands, row) for bands, row in zip(flux, rows, strict=True)]
        except OSError:  # one of them is damaged; the others are not
            images = [
                centred(bands, row)
                for row, place in zip(rows, range(start, stop), strict=True)
                for bands in self._one(place, row)
            ]
        return finish(rows, images, self.imaging)

    def _row(self, place: int) -> Row:
        beside = self._beside(place // BLOCK)
        ra, dec = beside.positions[:, place % BLOCK].tolist()
        return Row(beside.names[place % BLOCK], f"{self.path}[{place}]", ra, dec)

    def _flux(self, start: int, stop: int) -> NDArray[np.float32]:
        """Of some images, (n, bands, h, w)."""
        raw = self.images[start:stop]
        with np.errstate(over="ignore"):  # what float32 cannot hold is no measurement
            flux = raw.astype(np.float32, copy=False).reshape(len(raw), -1, *raw.shape[-2:])
        return unmasked(flux, integers=raw.dtype.kind in "iu")

    def _one(self, place: int, row: Row) -> Sequence[NDArray[np.float32]]:
        """One image, or none where it cannot be read."""
        try:
            return [*self._flux(place, place + 1)]
        except OSError as error:
            row.fail(f"{self.path}[{place}]: {(str(error).splitlines() or [''])[0]}")
            return []

    def _beside(self, number: int) -> Beside:
        """What is known of a block of images."""
        if (beside := self._recent.get(number)) is None:
            start, stop = number * BLOCK, min((number + 1) * BLOCK, len(self))
            read = functools.partial(_column, self.path, start=start, stop=stop)
            names = (
                [str(place) for place in range(start, stop)]
                if self.ids is None
                else [each or f"[{place}]" for place, each in enumerate(self.named(read(self.ids)), start=start)]
            )
            places = agreed([(read(ra), read(dec)) for ra, dec in self.places])
            beside = self._recent[number] = Beside(names, np.array(places or np.full((2, stop - start), np.nan)))
            for other in list(self._recent)[:-RECENT]:
                self._recent.pop(other, None)
        return beside


def _datasets(file: h5py.File) -> dict[str, Any]:
    import h5py

    found: dict[str, Any] = {}
    file.visititems(lambda name, each: found.update({name: each}) if isinstance(each, h5py.Dataset) else None)
    return found


def _access(images: h5py.Dataset) -> Any:
    """How images are opened: with room for all chunks that hold a part of one, so that each is decompressed once.

    HDF5 keeps a few MB by itself, and a chunk as h5py makes it holds a corner of thousands of images.
    """
    import h5py

    access = h5py.h5p.create(h5py.h5p.DATASET_ACCESS)
    if images.chunks:
        count = math.prod(
            -(-length // chunk) for length, chunk in zip(images.shape[1:], images.chunks[1:], strict=True)
        )
        size = count * math.prod(images.chunks) * images.dtype.itemsize
        access.set_chunk_cache(100 * count + 1, min(2 * size, CACHE), 1)  # what was read to its end goes first
    return access


def _groups(found: dict[str, Any], images: h5py.Dataset, path: Path) -> Iterator[Callable[..., h5py.Dataset | None]]:
    """What finds a dataset by its name in the group of the images, and then in each above it."""
    group = images.name.strip("/")
    while group:
        group = group.rpartition("/")[0]
        within = {name.rpartition("/")[2]: each for name, each in found.items() if name.rpartition("/")[0] == group}
        yield functools.partial(_found, path, within)


def _found(path: Path, within: dict[str, h5py.Dataset], *names: str) -> h5py.Dataset | None:
    place = find(path, tuple(within), *names)
    return None if place is None else list(within.values())[place]


def _column(path: Path, dataset: h5py.Dataset, start: int, stop: int) -> Column:
    """A piece of a dataset, the unit of which is its attribute `unit` or `units`."""
    unit = next((dataset.attrs[key] for key in ("unit", "units") if key in dataset.attrs), "")
    unit = unit.decode("latin-1") if isinstance(unit, bytes) else str(unit)
    values = dataset[start:stop] if dataset.shape else dataset[()]
    return column(path, dataset.name, values, unit, first=start)


def _images(found: dict[str, Any], units: tuple[Unit, ...], path: Path) -> h5py.Dataset:
    """The dataset that was asked for, or the only one that may hold images."""
    may = {name: each for name, each in found.items() if each.ndim in (3, 4) and each.dtype.kind in "fiu"}
    shapes = ", ".join(f"{name} {each.shape}" for name, each in found.items()) or "none"
    if len(units) > 1:
        raise DataError(f"{path}: {len(units)} datasets are named where one is expected")
    if units:
        if units[0] not in may:
            raise DataError(f"{path}: {one_of('dataset of images', units[0], tuple(may))}")
        return may[str(units[0])]
    if len(may) != 1:
        raise DataError(f"{path}: {len(may)} datasets (n, bands, h, w) or (n, h, w): --hdu names one (there: {shapes})")
    return next(iter(may.values()))


def _check_shape(images: h5py.Dataset, imaging: ImagingSet, resize: bool, path: Path) -> None:
    bands = 1 if images.ndim == 3 else images.shape[1]
    if bands != len(imaging.bands):
        raise DataError(
            f"{path}: images of {bands} bands, and the model takes {imaging.name} cutouts of {len(imaging.bands)}"
        )
    if not len(images):
        raise DataError(f"{path}: nothing in it to score")
    if images.shape[-2:] != (SIZE, SIZE) and not resize:
        told = " x ".join(map(str, images.shape[-2:]))
        raise DataError(f"{path}: images of {told} pixels; {SIZE} x {SIZE} is expected, or --resize")
