"""Reads anybody's scores of anybody's objects: a table, with the labels in it or in a table of their own."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from orchestrator.data.columns import LABELS, Column, canonical
from orchestrator.data.tables import Table
from orchestrator.errors import DataError

ID = "ID"
"""The column of identifiers where nothing else is said, or where a table has no column of the name that is."""


SAME = 1e-5
"""How far two scores of one object may be apart: in another batch a network's last digits are others."""


@dataclass(frozen=True)
class Scores:
    """Objects that have a label and a score, and the identifiers of those that do not.

    Attributes:
        ids: (n,) as written.
        labels: (n,) 1 a lens, 0 none.
        scores: (n,) float64, higher is more lens-like.
        unscored: with a label, but no score or none that is a number.
        unlabelled: with a score, but no label.
        repeated: more than once in a file, with the same values, see `SAME`; counted once.
    """

    ids: tuple[str, ...]
    labels: NDArray[np.int8]
    scores: NDArray[np.float64]
    unscored: tuple[str, ...]
    unlabelled: tuple[str, ...]
    repeated: tuple[str, ...]


def read(path: Path, score: str, label: str | None = None, *, key: Path | None = None, identifier: str = ID) -> Scores:
    """Read scores and labels, and match them by identifier, in which zeros before a number do not count.

    Args:
        path: a table, see `orchestrator.data.tables`.
        score: name of the column of scores.
        label: name of the column of labels, 1 or 0; in `no_source`, as the challenge has it, 0 is a lens. By default
            the one of `columns.LABELS` that is there.
        key: the table with the labels, where they are not in `path`.
        identifier: name of the column of identifiers, in both; a table without it is read by `ID`.

    Raises:
        DataError: no such file or column, a label or score that is none, two values for one object, or not one object
            with both.
    """
    repeated: set[str] = set()
    table = Table.open(path)
    labelled = Table.open(key) if key else table
    ids, column = _columns(table, identifier, (score,))
    numbers = _once(ids, column, column.numbers(ids).tolist(), repeated)
    ids, column = _columns(labelled, identifier, (label,) if label else tuple(LABELS))
    labels = _once(ids, column, column.labels(ids).tolist(), repeated)
    matched = _matched(list(numbers), list(labels))
    known = {each: labels[name] for each, name in matched.items() if labels[name] >= 0}
    both = [each for each in known if not math.isnan(numbers[each])]
    if not both:
        raise DataError(_reason(table, labelled, list(numbers), list(labels), matched))
    scored = {matched[each] for each in both}
    return Scores(
        tuple(both),
        np.array([known[each] for each in both], np.int8),
        np.array([numbers[each] for each in both], np.float64),
        tuple(each for each, value in labels.items() if value >= 0 and each not in scored),
        tuple(each for each in numbers if each not in known),
        tuple(sorted(repeated)),
    )


def _columns(table: Table, identifier: str, names: tuple[str, ...]) -> tuple[list[str], Column]:
    """The identifiers of a table, and the first of these columns that it has."""
    if not table.names:
        raise DataError(f"{table.path}: an empty file")
    of_ids = table.find(identifier, ID)
    named, column = table.read([table.place(identifier) if of_ids is None else of_ids, table.place(*names)])
    ids = [each or "" for each in named.ids()]
    if "" in ids:
        raise DataError(f"{named.place(ids.index(''))}: {named.name} is empty")
    return ids, column


def _once(ids: list[str], column: Column, values: list[float], repeated: set[str]) -> dict[str, float]:
    """Identifier → value; a row that says the same again is left out and noted."""
    found: dict[str, float] = {}
    for each, value in zip(ids, values, strict=True):
        if each not in found:
            found[each] = value
            continue
        if not (math.isclose(found[each], value, rel_tol=SAME) or (math.isnan(found[each]) and math.isnan(value))):
            raise DataError(f"{column.path}: object {each} has {column.name} {found[each]} and {value}")
        repeated.add(each)
    return found


def _matched(ids: list[str], others: list[str]) -> dict[str, str]:
    """Identifier → the same one in the other table: letter by letter, or else without zeros before a number."""
    names = {**dict(zip(canonical(others), others, strict=True)), **dict(zip(others, others, strict=True))}
    plain = zip(ids, canonical(ids), strict=True)
    return {each: names[same] for each, short in plain if (same := each if each in names else short) in names}


def _reason(table: Table, labelled: Table, ids: list[str], others: list[str], matched: dict[str, str]) -> str:
    """Why there is not one object with a score and a label."""
    if not ids or not others:
        return f"{(labelled if ids else table).path}: no row in it"
    if not matched:
        told = f"identifiers such as '{ids[0]}' here and '{others[0]}' there"
        return f"{table.path}: no object has a label in {labelled.path} ({told})"
    return f"{table.path}: not one object with a score and a label"
