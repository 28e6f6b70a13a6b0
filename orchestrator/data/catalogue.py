"""Reads the labels of a set, in either form the challenge published them in.

    classifications.csv                          ID, is_lens, … the training key
    euclidB_image_catalog.csv, kidsB_image_…     # comments, ID, no_source, … the test catalogue: 0 is a lens
    truth.csv                                    ID, … further columns, such as those our simulation knows

They lie in the root, in any folder of a release below it, such as ``Data_EuclidBig.0`` or ``Public``, or in one that
holds such a folder; or above the root, where it is itself one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from orchestrator.data.challenge import TRAINING_KEY, ImagingSet, label_folders
from orchestrator.data.columns import LABELS, Column
from orchestrator.data.tables import Table
from orchestrator.errors import DataError

TRUTH = "truth.csv"


@dataclass(frozen=True)
class Catalogue:
    """What is known of the objects of one set.

    Attributes:
        labels: identifier → 1 a lens, 0 none.
        columns: name → identifier → number, of all other columns that hold numbers.
        files: where it was read.
    """

    labels: dict[int, int]
    columns: dict[str, dict[int, float]]
    files: tuple[Path, ...]

    def column(self, name: str, ids: NDArray[np.int64]) -> NDArray[np.float64]:
        """The values of a column for these objects, NaN where there is none."""
        known = self.columns[name]
        return np.array([known.get(int(each), np.nan) for each in ids])


def find(root: Path, imaging: ImagingSet) -> tuple[Path, ...]:
    """The label files and truth files of a set, in the order they are read."""
    names = (TRAINING_KEY, imaging.catalogue, TRUTH)
    return tuple(path for folder in label_folders(root, imaging) for name in names if (path := folder / name).is_file())


def read_labels(root: Path, imaging: ImagingSet) -> Catalogue:
    """Read all label files of a set; none at all is an empty catalogue.

    Raises:
        DataError: a file without the columns, a value that is none, or two labels for one object.
    """
    catalogue = Catalogue({}, {}, find(root, imaging))
    for path in catalogue.files:
        _read(path, catalogue)
    return catalogue


def _read(path: Path, into: Catalogue) -> None:
    table = Table.open(path)
    at, label = table.find("ID"), table.find(*LABELS)
    if at is None or (label is None and path.name != TRUTH):
        expected = "ID" if path.name == TRUTH else "ID and is_lens, or ID and no_source"
        raise DataError(f"{path}: no column {expected} (its columns: {', '.join(table.names) or 'none'})")
    columns = table.read(range(len(table.names)))
    written = columns[at].ids()
    numbers = [_whole(each, columns[at].place(row)) for row, each in enumerate(written)]
    texts: dict[int, str | None] = {}
    for row, (number, text) in enumerate(zip(numbers, written, strict=True)):
        if texts.setdefault(number, text) != text:
            raise DataError(f"{columns[at].place(row)}: ID '{text}' and '{texts[number]}' name one object")
    if label is not None:
        _put_labels(columns[label], numbers, into)
    for place, name in enumerate(table.names):
        if place not in (at, label) and name:
            known = zip(numbers, columns[place].numbers_among_words().tolist(), strict=True)
            if values := {number: value for number, value in known if not math.isnan(value)}:
                into.columns.setdefault(name, {}).update(values)


def _whole(text: str | None, where: str) -> int:
    if text is None or not (text.isascii() and text.isdecimal()):
        raise DataError(f"{where}: ID '{text or ''}' is not a whole number")
    return int(text)


def _put_labels(column: Column, numbers: list[int], into: Catalogue) -> None:
    labels = column.labels(list(map(str, numbers)))
    for row, (number, label) in enumerate(zip(numbers, labels.tolist(), strict=True)):
        if label < 0:
            raise DataError(f"{column.place(row)}: {column.name} '' of object {number} (allowed: 0, 1)")
        if into.labels.setdefault(number, label) != label:
            raise DataError(f"{column.place(row)}: object {number} has the other label elsewhere")
