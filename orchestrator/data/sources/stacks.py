"""Reads cutouts from a dataset of an HDF5 file."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.data.challenge import SIZE, ImagingSet
from orchestrator.data.fits import Unit
from orchestrator.data.sources.pieces import Piece, Row, centred, finish
from orchestrator.errors import DataError, one_of

if TYPE_CHECKING:
    import h5py


@dataclass(frozen=True)
class Stack:
    """The images of one dataset (n, bands, h, w), or (n, h, w) of one band, opened."""

    path: Path
    imaging: ImagingSet
    images: h5py.Dataset
    beside: dict[str, NDArray[Any]]

    @classmethod
    def open(cls, path: Path, imaging: ImagingSet, units: tuple[Unit, ...], resize: bool) -> Stack:
        """Find the images of a file, and the datasets `id`, `ra` and `dec` (degrees) beside them.

        Raises:
            DataError: no HDF5 file, no such dataset, or images that the model does not take.
        """
        import h5py

        try:
            file = h5py.File(path, "r")
            found: dict[str, Any] = {}
            file.visititems(lambda name, each: found.update({name: each}) if isinstance(each, h5py.Dataset) else None)
            images = _images(found, units, path)
            _check_shape(images, imaging, resize, path)
            near = {name.rpartition("/")[2].lower(): each for name, each in found.items()}
            near = {
                key: near[name]
                for name, key in {"ids": "id", "id": "id", "ra": "ra", "dec": "dec"}.items()
                if name in near
            }
            beside = {key: each[()] for key, each in near.items()}
        except (OSError, RuntimeError) as error:
            raise DataError(f"{path}: not a readable HDF5 file ({(str(error).splitlines() or [''])[0]})") from None
        for key, values in beside.items():
            if values.shape != (len(images),):
                raise DataError(f"{path}: {len(images)} images, and {key} of shape {values.shape}")
        return cls(path, imaging, images, beside)

    def __len__(self) -> int:
        return len(self.images)

    def digest(self) -> str:
        """Of the file's name, size and time, and which dataset it is."""
        stat = self.path.stat()
        about = f"{self.path.resolve()} {stat.st_size} {stat.st_mtime_ns} {self.images.name}"
        return hashlib.sha256(about.encode()).hexdigest()

    def read(self, start: int, stop: int) -> Piece:
        """Read some of the objects."""
        rows, images = [], []
        try:
            raw = self.images[start:stop]
        except OSError:  # one of them is damaged; the others are not
            raw = None
        for place in range(start, stop):
            row = Row(self._id(place), f"{self.path}[{place}]", self._degrees("ra", place), self._degrees("dec", place))
            try:
                image = self.images[place] if raw is None else raw[place - start]
            except OSError as error:
                row.fail(f"{self.path}[{place}]: {(str(error).splitlines() or [''])[0]}")
            else:
                bands = image.astype(np.float32).reshape(-1, *image.shape[-2:])
                images.append(centred(bands, row))
            rows.append(row)
        return finish(rows, images, self.imaging)

    def _id(self, place: int) -> str:
        value = self.beside["id"][place] if "id" in self.beside else place
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)

    def _degrees(self, key: str, place: int) -> float:
        return float(self.beside[key][place]) if key in self.beside else float("nan")


def _images(found: dict[str, Any], units: tuple[Unit, ...], path: Path) -> h5py.Dataset:
    """The dataset that was asked for, or the only one that may hold images."""
    may = {name: each for name, each in found.items() if each.ndim in (3, 4) and each.dtype.kind in "fiu"}
    shapes = ", ".join(f"{name} {each.shape}" for name, each in found.items()) or "none"
    if len(units) == 1:
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
