"""Reads anybody's scores of anybody's objects: CSV or Parquet, with the labels in it or in a file of their own."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.data.catalogue import LABELS, read_rows
from orchestrator.errors import DataError, one_of

PARQUET = (".parquet", ".pq")


@dataclass(frozen=True)
class Scores:
    """Objects that have a label and a score, and the identifiers of those that do not.

    Attributes:
        ids: (n,) as written.
        labels: (n,) 1 a lens, 0 none.
        scores: (n,) float64, higher is more lens-like.
        unscored: with a label, but no score or none that is a number.
        unlabelled: with a score, but no label.
        repeated: more than once in a file, with the same values; counted once.
    """

    ids: tuple[str, ...]
    labels: NDArray[np.int8]
    scores: NDArray[np.float64]
    unscored: tuple[str, ...]
    unlabelled: tuple[str, ...]
    repeated: tuple[str, ...]


def read(path: Path, score: str, label: str, *, key: Path | None = None, identifier: str = "ID") -> Scores:
    """Read scores and labels, and match them by identifier.

    Args:
        path: CSV, where lines that begin with # are left out, or Parquet.
        score: name of the column of scores.
        label: name of the column of labels, 1 or 0; in `no_source`, as the challenge has it, 0 is a lens.
        key: the file with the labels, where they are not in `path`.
        identifier: name of the column of identifiers, in both.

    Raises:
        DataError: no such file or column, a label or score that is none, or two values for one object.
    """
    repeated: set[str] = set()
    table = _table(path)
    scores = dict(_column(table, path, identifier, score, repeated))
    labels = dict(_column(_table(key) if key else table, key or path, identifier, label, repeated))
    numbers = {each: _number(text, path, each) for each, text in scores.items()}
    known = {each: _label(text, label, key or path, each) for each, text in labels.items()}
    both = [each for each in numbers if each in known and not math.isnan(numbers[each])]
    return Scores(
        tuple(both),
        np.array([known[each] for each in both], np.int8),
        np.array([numbers[each] for each in both], np.float64),
        tuple(each for each in known if math.isnan(numbers.get(each, math.nan))),
        tuple(each for each in numbers if each not in known),
        tuple(sorted(repeated)),
    )


def _column(
    columns: dict[str, list[str]], path: Path, identifier: str, name: str, repeated: set[str]
) -> Iterator[tuple[str, str]]:
    """Identifier and value of each row; a row that says the same again is left out and noted."""
    seen: dict[str, str] = {}
    for wanted in (identifier, name):
        if wanted not in columns:
            raise DataError(f"{path}: {one_of('column', wanted, tuple(columns))}")
    for each, value in zip(columns[identifier], columns[name], strict=True):
        if each in seen:
            if seen[each] != value:
                raise DataError(f"{path}: object {each} has {name} {seen[each]} and {value}")
            repeated.add(each)
            continue
        seen[each] = value
        yield each, value


def _table(path: Path) -> dict[str, list[str]]:
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    return _parquet(path) if path.suffix in PARQUET else _csv(path)


def _csv(path: Path) -> dict[str, list[str]]:
    rows = read_rows(path)
    if not rows:
        raise DataError(f"{path}: an empty file")
    header = rows[0][1]
    for line, row in rows[1:]:
        if len(row) != len(header):
            raise DataError(f"{path}: {len(row)} values where the header names {len(header)}, in line {line}")
    return {name: [row[place] for _, row in rows[1:]] for place, name in enumerate(header)}


def _parquet(path: Path) -> dict[str, list[str]]:
    import pyarrow
    import pyarrow.parquet

    try:
        columns: dict[str, list[Any]] = pyarrow.parquet.read_table(path).to_pydict()
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path}: not a readable Parquet file ({str(error).splitlines()[0]})") from None
    # repr keeps every digit of a float.
    return {
        name: ["" if each is None else repr(each) if isinstance(each, float) else str(each) for each in values]
        for name, values in columns.items()
    }


def _number(text: str, path: Path, identifier: str) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        raise DataError(f"{path}: score '{text}' of object {identifier} is not a number") from None


def _label(text: str, column: str, path: Path, identifier: str) -> int:
    values = LABELS.get(column.lower(), {"0": 0, "1": 1})
    plain = {"True": "1", "False": "0", "0.0": "0", "1.0": "1"}.get(text, text)
    if plain not in values:
        raise DataError(f"{path}: {column} '{text}' of object {identifier} (allowed: {', '.join(values)})")
    return values[plain]
