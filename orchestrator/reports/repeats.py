"""How far results of one training scatter when it is repeated with other seeds, or on other splits."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from orchestrator.reports.results import Row, named
from orchestrator.reports.tables import COLUMNS, table

if TYPE_CHECKING:
    from rich.table import Table

METRICS = tuple(name for name in COLUMNS if name != "seconds_per_image")


@dataclass(frozen=True)
class Cell:
    """Repeats of one row.

    Attributes:
        name: of the network.
        epochs: of all of them.
        seeds: of the repeats, which are as many.
        data: digests of what all of them were trained and tested on; see `Row.data`.
        selections: on how many selections of objects they were tested.
        mean: metric → mean over the repeats.
        deviation: metric → standard deviation, with one degree of freedom less than repeats.
        changes: metric → absolute differences of all pairs.
    """

    name: str
    epochs: int
    seeds: tuple[str, ...]
    data: tuple[str, str]
    selections: int
    mean: dict[str, float]
    deviation: dict[str, float]
    changes: dict[str, list[float]]

    @property
    def count(self) -> int:
        """How many repeats there are."""
        return len(self.seeds)


@dataclass(frozen=True)
class Change:
    """Over all pairs of repeats: the mean absolute difference, the largest, and where that is."""

    mean: float
    largest: float
    where: str


def repeats(rows: Iterable[Row]) -> list[Cell]:
    """Rows that differ in their seeds alone, together; a row without a repeat is in none.

    Data and a set of its own to test on are the same for all; the part that is tested on is another where the seed
    draws the split. What was recorded twice counts once.
    """
    groups: dict[tuple[str, int, str, tuple[str, str]], dict[str, Row]] = {}
    for row in rows:
        if row.epochs is not None:
            groups.setdefault((row.name, row.epochs, row.family, row.data), {})[row.recipe] = row
    return [
        _cell(name, epochs, data, list(group.values()))
        for (name, epochs, _, data), group in sorted(groups.items())
        if len(group) > 1
    ]


def _cell(name: str, epochs: int, data: tuple[str, str], group: Sequence[Row]) -> Cell:
    values = {
        metric: [row.metrics[metric] for row in group]
        for metric in METRICS
        if all(metric in row.metrics for row in group)
    }
    return Cell(
        name,
        epochs,
        tuple(row.seed for row in group),
        data,
        len({row.tested for row in group}),
        {metric: float(np.mean(each)) for metric, each in values.items()},
        {metric: float(np.std(each, ddof=1)) for metric, each in values.items()},
        {metric: [abs(a - b) for a, b in itertools.combinations(each, 2)] for metric, each in values.items()},
    )


def changes(cells: Sequence[Cell]) -> dict[str, Change]:
    """Metric → how much it changes between repeats, as LEXACTUM's section 3.2 reports it."""
    found = {}
    for metric in METRICS:
        pairs = [(each, cell) for cell in cells for each in cell.changes.get(metric, [])]
        if pairs:
            largest, cell = max(pairs, key=lambda pair: pair[0])
            mean = float(np.mean([each for each, _ in pairs]))
            found[metric] = Change(mean, largest, f"{cell.name}, {cell.epochs} epochs")
    return found


def as_table(cells: Sequence[Cell]) -> Table:
    """For a terminal: mean and standard deviation of each metric, on two lines."""
    header = ["model", "epochs", "repeats", *(COLUMNS[metric][0] for metric in METRICS)]
    lines = []
    for cell in cells:
        about = [cell.name, str(cell.epochs), str(cell.count)]
        for first, values in ((about, cell.mean), (["  ±", "", ""], cell.deviation)):
            lines.append([*first, *(f"{values[metric]:.4f}" if metric in values else "-" for metric in METRICS)])
    return table(header, lines)


def pooled(cells: Sequence[Cell]) -> list[str]:
    """What was taken together, a line for each kind of repeats."""
    several = len({cell.data for cell in cells}) > 1
    names: dict[str, dict[str, None]] = {}
    for cell in cells:
        data = f" ({named(cell.data)})" if several else ""
        where = "the same objects" if cell.selections == 1 else f"{cell.selections} selections of objects"
        seeds = ", ".join(dict.fromkeys(cell.seeds))
        names.setdefault(f"seeds {seeds} on the same data{data}, tested on {where}", {})[cell.name] = None
    return [f"{', '.join(each)}: {what}" for what, each in names.items()]


def lines(found: dict[str, Change]) -> list[str]:
    """One line a metric."""
    return [
        f"{COLUMNS[metric][0]:8} changes by {100 * each.mean:.2f} % on average, by {100 * each.largest:.2f} % at most"
        f" ({each.where})"
        for metric, each in found.items()
    ]
