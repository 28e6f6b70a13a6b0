"""The table of results in its formats."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from typing import Any

import pytest
from rich.console import Console

from orchestrator.reports.published import read
from orchestrator.reports.results import Row, settings, varying
from orchestrator.reports.tables import FORMATS, as_csv, as_json, as_markdown, as_table, notes

METRICS = {
    "auc": 0.93431234567, "auc_low": 0.92, "auc_high": 0.95, "tpr": 0.87, "fpr": 0.0042, "tpr0": 0.0, "tpr10": 0.42,
    "val_auc": 0.91, "seconds_per_image": 0.00612,
}  # fmt: skip


def row(run: str, model: str, epochs: int | None, metrics: dict[str, float], **changes: Any) -> Row:
    """Of a training on a set of ours, with seed 1."""
    made = Row(
        run * 32, "t" * 32, f"recipe {run}", "family", "space", "0123", "4567", model, epochs,
        settings={"seed": "1", "split": "0.7/0.1/0.2", "dataset": "data/mine", "augment": "all"}, metrics=metrics,
    )  # fmt: skip
    return dataclasses.replace(made, **changes)


ROWS = [row("a", "cas_swinburne", 1000, METRICS), row("b", "lens_flow", 5, {"auc": 0.5})]


def text_of(*arguments: Any) -> str:
    console = Console(width=80, file=io.StringIO(), record=True)
    console.print(as_table(*arguments))
    return console.export_text()


def test_a_row_stands_above_its_interval_and_above_what_was_published() -> None:
    metrics = {"auc": 0.91, "auc_low": 0.88, "auc_high": 0.935}
    rows = [row("a", "lens_flow", 250, metrics), row("b", "lens_flow", 6, metrics)]
    lines = text_of(rows, True, [read("paper", "space")]).splitlines()[2:]
    assert [line.split()[0] for line in lines] == ["lens_flow", "low", "high", "paper", "lens_flow", "low", "high"]
    assert [line.split()[1] for line in lines[1:4]] == ["0.8800", "0.9350", "0.9046"]


def test_csv_and_json_keep_every_digit() -> None:
    (first, second) = csv.DictReader(io.StringIO(as_csv(ROWS)))
    assert float(first["auc"]) == METRICS["auc"]
    assert (second["tpr10"], second["run_id"]) == ("", "b" * 32)
    assert json.loads(as_json(ROWS))[0]["auc"] == METRICS["auc"]


def test_csv_has_intervals_and_published_numbers_in_columns_of_their_own() -> None:
    (_, second) = csv.DictReader(io.StringIO(as_csv(ROWS, True, [read("paper", "space"), read("challenge", "space")])))
    assert float(second["paper_auc"]) == 0.8389
    assert float(second["challenge_auc"]) == pytest.approx(0.9325, abs=1e-4)
    (first, _) = csv.DictReader(io.StringIO(as_csv(ROWS, True)))
    assert (first["auc_low"], first["auc_high"], first["tpr_low"]) == ("0.92", "0.95", "")


def test_markdown_is_a_table_of_as_many_cells_in_every_line() -> None:
    lines = as_markdown(ROWS, True, [read("challenge", "space")]).splitlines()
    assert {line.count("|") for line in lines} == {10}
    assert "| 0.9343 |" in lines[2]
    assert lines[3].startswith("| low | | 0.9200 |") or lines[3].startswith("| low |  | 0.9200 |")
    assert as_markdown(ROWS).splitlines()[3].endswith("| - |")


def test_the_widest_row_fits_a_terminal_of_80_columns() -> None:
    text = text_of(ROWS)
    assert "…" not in text
    assert "cas_swinburne   1000 0.9343" in text


def test_what_rows_differ_in_has_a_column_and_what_they_share_has_none() -> None:
    other = row("c", "lens_flow", 5, {"auc": 0.6}, settings={**ROWS[1].settings, "augment": "none", "seed": "2"})
    assert varying([*ROWS, other]) == ["augment"]
    header, *lines = csv.reader(io.StringIO(as_csv([*ROWS, other])))
    assert [line[header.index("augment")] for line in lines] == ["all", "all", "none"]
    assert {"seed", "augment"} <= set(text_of([*ROWS, other]).split())
    assert "augment" not in text_of(ROWS)
    assert "dataset" not in settings(other)


def test_a_running_average_and_somebody_elses_scores_are_told_apart_from_a_network() -> None:
    text = text_of([row("a", "lens_flow", 5, METRICS, weights="ema"), row("b", "a_finder", None, METRICS, settings={})])
    assert "lens_flow EMA" in text
    assert "a_finder" in text
    assert " - " in text


def test_notes_say_what_keeps_numbers_from_being_compared() -> None:
    assert notes(ROWS) == []
    other_data = row("c", "lens_flow", 5, {}, dataset="89ab")
    other_split = row("d", "lens_flow", 5, {}, tested="cdef", settings={**ROWS[1].settings, "seed": "2"})
    before = row("f", "lens_flow", 5, {}, tested="pixels:4567", settings={**ROWS[1].settings, "tested.names": "4567"})
    finder = row("e", "a_finder", None, {}, tested="0000", settings={})
    same = row("g", "its_finder", None, {}, tested="4567", settings={})
    assert "2 states of the data" in notes([*ROWS, other_data])[0]
    assert "other selections" in notes([*ROWS, other_split])[0]
    assert "a_finder was scored on other objects" in notes([*ROWS, finder])[0]
    assert (
        "its_finder is of the same objects by identifier and label; its list has no pixels" in notes([*ROWS, same])[0]
    )
    assert "older rows say by identifier and label alone" in notes([*ROWS, before])[1]
    assert "tested" not in "".join(settings(before))
    ours, paper, challenge = notes(ROWS, [read("paper", "space"), read("challenge", "space")])
    assert "mine split 0.7/0.1/0.2" in ours
    assert "1,001 thresholds" in paper
    assert "official test set" in challenge


@pytest.mark.parametrize("form", FORMATS)
def test_a_table_without_rows_is_no_error(form: str) -> None:
    assert FORMATS[form]([], False, ()) is not None
