"""The table of results in its formats."""

from __future__ import annotations

import csv
import io
import json

import pytest
from rich.console import Console

from orchestrator.reports.tables import FORMATS, Row, as_csv, as_json, as_markdown, as_table

METRICS = {
    "auc": 0.93431234567, "tpr": 0.87, "fpr": 0.0042, "tpr0": 0.0, "tpr10": 0.42,
    "val_auc": 0.91, "seconds_per_image": 0.00612,
}  # fmt: skip
ROWS = [
    Row("a" * 32, "r1", "space", "0123", "cas_swinburne", 1000, 1, METRICS),
    Row("b" * 32, "r2", "space", "0123", "lens_flow", 5, 1, {"auc": 0.5}),
]


def test_csv_and_json_keep_every_digit() -> None:
    (first, second) = csv.DictReader(io.StringIO(as_csv(ROWS)))
    assert float(first["auc"]) == METRICS["auc"]
    assert (second["tpr10"], second["run_id"]) == ("", "b" * 32)
    assert json.loads(as_json(ROWS))[0]["auc"] == METRICS["auc"]


def test_markdown_is_a_table_of_as_many_cells_in_every_line() -> None:
    lines = as_markdown(ROWS).splitlines()
    assert {line.count("|") for line in lines} == {11}
    assert "| 0.9343 |" in lines[2]
    assert lines[3].endswith("| - |")


def test_the_widest_row_fits_a_terminal_of_80_columns() -> None:
    console = Console(width=80, file=io.StringIO(), record=True)
    console.print(as_table(ROWS))
    text = console.export_text()
    assert "…" not in text
    assert "cas_swinburne   1000    1 0.9343" in text


@pytest.mark.parametrize("form", FORMATS)
def test_a_table_without_rows_is_no_error(form: str) -> None:
    assert FORMATS[form]([]) is not None
