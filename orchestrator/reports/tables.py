"""The table of results: one row per network and epoch count, for a terminal, or as CSV, Markdown or JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.json_text import as_json as json_of
from orchestrator.learning.bootstrap import LEVEL
from orchestrator.reports.published import CAVEATS, Published
from orchestrator.reports.results import Row, settings, told_apart_by, varying

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


FEW = 2
"""Settings that rows may differ in to have a column each, except in CSV and JSON."""

Beside = Sequence[Published]
"""What was published, to be shown on further lines below a row, or in further columns."""


def as_table(rows: Sequence[Row], intervals: bool = False, beside: Beside = ()) -> Table:
    """For a terminal."""
    return table(_header(rows), _lines(rows, intervals, beside))


def as_markdown(rows: Sequence[Row], intervals: bool = False, beside: Beside = ()) -> str:
    """For a paper's draft or a wiki."""
    header = _header(rows)
    lines = ["| " + " | ".join(map(str.strip, cells)) + " |" for cells in [header, *_lines(rows, intervals, beside)]]
    return "\n".join([lines[0], "|" + " --- |" + " ---: |" * (len(header) - 1), *lines[1:]])


def as_csv(rows: Sequence[Row], intervals: bool = False, beside: Beside = ()) -> str:
    """With a header, and with every digit; intervals and published numbers in columns of their own."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    metrics = [each for name in COLUMNS for each in ([name, *_limits(name)] if intervals else [name])]
    published = [(source, name) for source in beside for name in COLUMNS if not name.startswith("val_")]
    names = [f"{source.source}_{name}" for source, name in published]
    varied = varying(rows)
    about = ["set", "model", "weights", "epochs", "seed", *varied]
    writer.writerow([*about, *metrics, *names, "tested", "run_id"])
    for row in rows:
        values = [row.metrics.get(name, "") for name in metrics]
        values += [source.beside(row.model, row.epochs).get(name, "") for source, name in published]
        about = [row.set, row.model, row.weights, str(row.epochs or ""), row.seed]
        about += [row.settings.get(key, "") for key in varied]
        writer.writerow([*about, *values, row.tested, row.run_id])
    return text.getvalue().rstrip("\n")


def as_json(rows: Sequence[Row], intervals: bool = False, beside: Beside = ()) -> str:
    """A list of objects, with every metric that was recorded, its interval too, and every digit."""
    keys = ("set", "dataset", "recipe", "family", "tested", "names", "model", "weights", "epochs", "seed", "run_id")
    return json_of(
        [
            {
                **{key: getattr(row, key) for key in keys},
                "settings": settings(row),
                **row.metrics,
                **{source.source: source.beside(row.model, row.epochs) for source in beside},
            }
            for row in rows
        ],
        indent=1,
    )


FORMATS: dict[str, Callable[[Sequence[Row], bool, Beside], str | Table]] = {
    "text": as_table,
    "csv": as_csv,
    "markdown": as_markdown,
    "json": as_json,
}


def notes(rows: Sequence[Row], beside: Beside = ()) -> list[str]:
    """What keeps numbers of a table, or published ones beside it, from being compared."""
    found = []
    if len(varied := varying(rows)) > FEW:
        found.append(f"rows differ in {', '.join(varied)}; --format csv has a column for each")
    if len(datasets := {row.dataset for row in rows if row.epochs is not None}) > 1:
        found.append(f"rows come of {len(datasets)} states of the data; compare those of one (--format json names it)")
    ours = [row for row in rows if row.epochs is not None]
    if len({row.tested for row in ours}) > 1:
        found.append("rows were tested on other selections of objects; what differs between them includes that")
    if len({row.tested == row.names for row in ours}) > 1:
        found.append("older rows say by identifier and label alone what they were tested on; `compare` looks further")
    for row in rows:
        if row.foreign and row.names in {each.names for each in ours}:
            found.append(f"{row.model} is of the same objects by identifier and label; its list has no pixels")
        elif row.epochs is None and row.tested not in {each.tested for each in ours}:
            found.append(f"{row.model} was scored on other objects than the rows of networks")
    if beside:
        trained = {
            (Path(row.settings["dataset"]).name, row.settings["split"]) for row in rows if "split" in row.settings
        }
        told = "; ".join(f"{dataset} split {split}" for dataset, split in sorted(trained))
        found.append(f"ours: {told}; metrics are exact, at every threshold")
        found += [f"not comparable as they stand: {CAVEATS[each.source]}" for each in beside]
    return found


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


def with_interval(row: Row, metric: str) -> str:
    """A metric of a row and its confidence interval in one cell."""
    value, *limits = (row.metrics.get(name) for name in (metric, *_limits(metric)))
    shown = "-" if value is None else f"{value:.4f}"
    return shown if None in limits else f"{shown} ({limits[0]:.4f}-{limits[1]:.4f})"


def _header(rows: Sequence[Row]) -> list[str]:
    return ["model", "epochs", *_varied(rows), *(heading for heading, _ in COLUMNS.values())]


def _varied(rows: Sequence[Row]) -> list[str]:
    few = len(varying(rows)) <= FEW
    return [key for key in told_apart_by(rows) if few or key == "seed"]


def _lines(rows: Sequence[Row], intervals: bool, beside: Beside) -> list[list[str]]:
    lines, varied = [], _varied(rows)
    blank = [""] * (1 + len(varied))
    for row in rows:
        about = [row.name, str(row.epochs or "-"), *(row.settings.get(key, "-") for key in varied)]
        lines.append([*about, *_values(row.metrics, "-")])
        if intervals:
            for number, end in enumerate(("low", "high")):
                limits = {name: row.metrics.get(_limits(name)[number]) for name in COLUMNS}
                lines.append([f"  {end}", *blank, *_values(limits, "")])
        for source in beside:
            if given := source.beside(row.model, row.epochs):
                lines.append([f"  {source.source}", *blank, *_values(given, "")])
    return lines


def _values(metrics: Mapping[str, float | None], missing: str) -> list[str]:
    known = {name: metrics.get(name) for name in COLUMNS}
    return [missing if each is None else f"{each:.{COLUMNS[name][1]}f}" for name, each in known.items()]


def _limits(name: str) -> tuple[str, str]:
    return f"{name}_low", f"{name}_high"
