"""Compares two rows: what differs in how they were made, and whether their metrics differ by more than chance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import TrackingError
from orchestrator.learning.bootstrap import paired_intervals
from orchestrator.learning.metrics import METRICS
from orchestrator.reports.results import Row, settings
from orchestrator.tracking import artifacts, records


@dataclass(frozen=True)
class Difference:
    """A metric of both rows, the second less the first, and its interval; None where they cannot be paired."""

    one: float
    other: float
    interval: tuple[float, float] | None

    @property
    def difference(self) -> float:
        """The second less the first."""
        return self.other - self.one

    @property
    def beyond_chance(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.interval is not None and not self.interval[0] <= 0 <= self.interval[1]

    @property
    def cells(self) -> list[str]:
        """Both, the second less the first, and the interval, for a table."""
        shown = "-" if self.interval is None else "{:+.4f} to {:+.4f}".format(*self.interval)
        return [f"{self.one:.4f}", f"{self.other:.4f}", f"{self.difference:+.4f}", shown]


@dataclass(frozen=True)
class Comparison:
    """Two rows side by side.

    Attributes:
        one: the first.
        other: the second.
        settings: what differs → its two values.
        metrics: name → its difference.
        objects: how many both were tested on; 0 where they were not the same by identifier, label and pixels.
        by_name: whether these are the same by identifier and label alone, since one is of somebody else's scores.
    """

    one: Row
    other: Row
    settings: Mapping[str, tuple[str, str]]
    metrics: Mapping[str, Difference]
    objects: int
    by_name: bool


def compare(one: str, other: str) -> Comparison:
    """Compare two rows or evaluations by their runs; by paired intervals where the same objects were tested on.

    Raises:
        TrackingError: no such run, one that is neither, or rows of two sets.
    """
    rows = records.row(one), records.row(other)
    if rows[0].set != rows[1].set:
        raise TrackingError(f"{one} is of the {rows[0].set} set, and {other} of the {rows[1].set} set: not comparable")
    about = [
        {"model": row.model, "epochs": str(row.epochs or "-"), "weights": row.weights, "data": row.dataset}
        | settings(row)
        for row in rows
    ]
    differing = {
        key: (about[0].get(key, "-"), about[1].get(key, "-"))
        for key in dict.fromkeys((*about[0], *about[1]))
        if about[0].get(key) != about[1].get(key)
    }
    intervals: dict[str, tuple[float, float]] = {}
    objects = 0
    if on_same_objects(*rows):
        ids, labels, *scores = paired_scores(*rows)
        found = paired_intervals(labels, *scores, halves=(rows[0].half, rows[1].half))
        intervals = {name: each for name, each in found.items() if np.isfinite(each).all()}
        objects = len(ids)
    metrics = {
        name: Difference(rows[0].metrics[name], rows[1].metrics[name], intervals.get(name))
        for name in METRICS
        if all(name in row.metrics and np.isfinite(row.metrics[name]) for row in rows)
    }
    return Comparison(*rows, differing, metrics, objects, any(row.foreign for row in rows))


def on_same_objects(one: Row, other: Row) -> bool:
    """Whether two rows are of the same objects: identifiers, labels and pixels.

    Somebody else's scores come without pixels: identifiers and labels decide. What is not on record is not the same.
    """
    if one.names != other.names or one.foreign or other.foreign:
        return one.names == other.names
    found = records.tested(one)
    return found is not None and found == records.tested(other)


def paired_scores(
    one: Row, other: Row
) -> tuple[tuple[str, ...], NDArray[np.int8], NDArray[np.float64], NDArray[np.float64]]:
    """Identifiers, labels and both scores of the objects that two rows were tested on."""
    first, second = artifacts.scores(one.run_id), artifacts.scores(other.run_id)
    place = {each: number for number, each in enumerate(second.ids)}
    return first.ids, first.labels, first.scores, second.scores[[place[each] for each in first.ids]]
