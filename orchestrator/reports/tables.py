"""The table of results: one row per network and epoch count, for a terminal, or as CSV, Markdown or JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.learning.bootstrap import LEVEL
from orchestrator.reports.published import Published

if TYPE_CHECKING:
    from rich.table import Table

COLUMNS = {
    "auc": ("AUC", 4),
    "tpr": ("TPR", 4),
    "fpr": ("FPR", 4),
    "tpr0": ("TPR0", 4),
    "tpr10": ("TPR10", 4),
    "val_auc": ("val AUC", 4),
    "seconds_per_image": ("s/image", 5),
}
"""Metric → its heading and its digits; all of the test set but `val_…`, which is of the validation set."""


HEADER = ["model", "epochs", "seed", *(heading for heading, _ in COLUMNS.values())]


@dataclass(frozen=True)
class Row:
    """One training at one of its epoch counts, as it was recorded; `recipe` and `dataset` are digests."""

    run_id: str
    recipe: str
    set: str
    dataset: str
    model: str
    epochs: int
    seed: int
    metrics: dict[str, float]


def as_table(rows: Sequence[Row]) -> Table:
    """For a terminal."""
    return table(HEADER, map(_cells, rows))


def as_long_table(rows: Sequence[Row], beside: Published | None = None) -> Table:
    """For a terminal, with the confidence interval below each metric, and what was published on its row."""
    lines: list[list[str]] = []
    for row in rows:
        cells, low, high, published = _cells(row), ["  low", "", ""], ["  high", "", ""], ["", "", ""]
        given = beside.beside(row.model, row.epochs) if beside else {}
        for name, (_, digits) in COLUMNS.items():
            for line, value in (
                (low, row.metrics.get(f"{name}_low")),
                (high, row.metrics.get(f"{name}_high")),
                (published, given.get(name)),
            ):
                line.append("" if value is None else f"{value:.{digits}f}")
        lines += [cells, low, high]
        if beside and any(published):
            lines.append([f"  {beside.source}", *published[1:]])
    return table(HEADER, lines)


def as_csv(rows: Sequence[Row]) -> str:
    """With a header, and with every digit."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["set", "model", "epochs", "seed", *COLUMNS, "run_id"])
    for row in rows:
        values = [row.metrics.get(name, "") for name in COLUMNS]
        writer.writerow([row.set, row.model, row.epochs, row.seed, *values, row.run_id])
    return text.getvalue().rstrip("\n")


def as_markdown(rows: Sequence[Row]) -> str:
    """For a paper's draft or a wiki."""
    lines = ["| " + " | ".join(cells) + " |" for cells in [HEADER, *map(_cells, rows)]]
    return "\n".join([lines[0], "|" + " --- |" + " ---: |" * (len(HEADER) - 1), *lines[1:]])


def as_json(rows: Sequence[Row]) -> str:
    """A list of objects, with every metric that was recorded and every digit."""
    keys = ("set", "dataset", "recipe", "model", "epochs", "seed", "run_id")
    return json.dumps([{**{key: getattr(row, key) for key in keys}, **row.metrics} for row in rows], indent=1)


FORMATS: dict[str, Callable[[Sequence[Row]], str | Table]] = {
    "text": as_table,
    "csv": as_csv,
    "markdown": as_markdown,
    "json": as_json,
}


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A table for a terminal, narrow enough for 80 columns; what looks like a number is aligned to the right."""
    from rich import box
    from rich.table import Table

    cells = list(rows)
    made = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    for place, name in enumerate(header):
        numbers = all(row[place][:1].isdigit() or row[place] in ("-", "") for row in cells)
        made.add_column(name, justify="right" if numbers else "left")
    for row in cells:
        made.add_row(*row)
    return made


def lines(metrics: Mapping[str, float], intervals: Mapping[str, tuple[float, float]]) -> list[str]:
    """One line a metric, with its confidence interval."""
    return [
        f"{name:9} {value:.4f}   {LEVEL:.0%} interval {low:.4f} to {high:.4f}"
        for (name, value), (low, high) in zip(metrics.items(), map(intervals.__getitem__, metrics), strict=True)
    ]


def _cells(row: Row) -> list[str]:
    values = [
        f"{row.metrics[name]:.{digits}f}" if name in row.metrics else "-" for name, (_, digits) in COLUMNS.items()
    ]
    return [row.model, str(row.epochs), str(row.seed), *values]
