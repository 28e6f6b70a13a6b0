"""Reads the labels of a set, in either form the challenge published them in.

    classifications.csv                          ID, is_lens, … the training key
    euclidB_image_catalog.csv, kidsB_image_…     # comments, ID, no_source, … the test catalogue: 0 is a lens
    truth.csv                                    ID, … further columns, such as those our simulation knows

They lie in the root or in any of its data folders.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from orchestrator.data.challenge import TRAINING_KEY, ImagingSet, data_folders
from orchestrator.errors import DataError

TRUTH = "truth.csv"

LABELS = {"is_lens": {"0": 0, "1": 1}, "no_source": {"0": 1, "1": 0}}
"""Label column → its values → 1 for a lens."""


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
    parts = data_folders(root, imaging)
    folders = [root, *parts, *(part / "Public" for part in parts)]
    names = (TRAINING_KEY, imaging.catalogue, TRUTH)
    return tuple(path for folder in folders for name in names if (path := folder / name).is_file())


def read_labels(root: Path, imaging: ImagingSet) -> Catalogue:
    """Read all label files of a set; none at all is an empty catalogue.

    Raises:
        DataError: a file without the columns, a value that is none, or two labels for one object.
    """
    catalogue = Catalogue({}, {}, find(root, imaging))
    for path in catalogue.files:
        _read(path, catalogue)
    return catalogue


def read_rows(path: Path) -> list[tuple[int, list[str]]]:
    """Read a CSV file, header and all: the number and the cells of each line that is neither empty nor a comment.

    Raises:
        DataError: it cannot be read, or is no CSV.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise DataError(f"{path}: not a text file") from None
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    return [
        (number, _cells(line, f"{path}:{number}"))
        for number, line in enumerate(lines, start=1)
        if line.strip() and not line.lstrip().startswith("#")
    ]


def _read(path: Path, into: Catalogue) -> None:
    rows = read_rows(path)
    names = rows[0][1] if rows else []
    header = [name.lower() for name in names]
    label = next((name for name in LABELS if name in header), None)
    if "id" not in header or (label is None and path.name != TRUTH):
        expected = "ID" if path.name == TRUTH else "ID and is_lens, or ID and no_source"
        raise DataError(f"{path}: no column {expected} (its columns: {', '.join(names) or 'none'})")
    at = {name: place for place, name in enumerate(header)}
    numbers = [(names[place], place) for name, place in at.items() if name not in ("id", label)]
    for line, row in rows[1:]:
        where = f"{path}:{line}"
        if len(row) != len(header):
            raise DataError(f"{where}: {len(row)} values where the header names {len(header)}")
        if not row[at["id"]].isdecimal():
            raise DataError(f"{where}: ID '{row[at['id']]}' is not a whole number")
        identifier = int(row[at["id"]])
        if label is not None:
            _put_label(identifier, label, row[at[label]], where, into)
        for name, place in numbers:
            try:
                into.columns.setdefault(name, {})[identifier] = float(row[place])
            except ValueError:
                continue  # text, such as the kind of a galaxy


def _cells(line: str, where: str) -> list[str]:
    try:
        return [cell.strip() for cell in next(csv.reader([line], skipinitialspace=True))]
    except csv.Error as error:
        raise DataError(f"{where}: {error}") from None


def _put_label(identifier: int, column: str, value: str, where: str, into: Catalogue) -> None:
    values = LABELS[column]
    if value not in values:
        raise DataError(f"{where}: {column} '{value}' of object {identifier} (allowed: {', '.join(values)})")
    if into.labels.setdefault(identifier, values[value]) != values[value]:
        raise DataError(f"{where}: object {identifier} has the other label elsewhere")
