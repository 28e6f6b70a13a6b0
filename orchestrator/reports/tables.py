"""The table of results: one row per network and epoch count, as text, CSV, Markdown or JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass

METRICS = ("auc", "tpr", "fpr", "tpr0", "tpr10", "val_auc", "seconds_per_image")
FORMATS = ("text", "csv", "markdown", "json")


@dataclass(frozen=True)
class Row:
    """One training at one of its epoch counts, as it was recorded."""

    run_id: str
    model: str
    epochs: int
    seed: int
    metrics: dict[str, float]


def render(rows: Sequence[Row], form: str) -> str:
    """Write the table in one of `FORMATS`; the numbers of csv and json are not rounded."""
    if form == "json":
        return json.dumps([{**_keys(row), **row.metrics} for row in rows], indent=1)
    header = ["model", "epochs", "seed", *METRICS, "run_id"]
    if form == "csv":
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(header)
        for row in rows:
            values = [row.metrics.get(name, "") for name in METRICS]
            writer.writerow([row.model, row.epochs, row.seed, *values, row.run_id])
        return text.getvalue().rstrip("\n")
    cells = [header[:-1]]
    for row in rows:
        values = [_number(name, row.metrics.get(name)) for name in METRICS]
        cells.append([row.model, str(row.epochs), str(row.seed), *values])
    if form == "markdown":
        lines = ["| " + " | ".join(line) + " |" for line in cells]
        lines.insert(1, "|" + " --- |" + " ---: |" * (len(header) - 2))
        return "\n".join(lines)
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))])
        for line in cells
    )


def _keys(row: Row) -> dict[str, str | int]:
    return {"model": row.model, "epochs": row.epochs, "seed": row.seed, "run_id": row.run_id}


def _number(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.6f}" if name.startswith("seconds") else f"{value:.4f}"
