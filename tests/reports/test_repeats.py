"""How far repeats scatter."""

from __future__ import annotations

import pytest

from orchestrator.reports.repeats import changes, lines, pooled, repeats
from tests.reports.test_tables import row

ROWS = [
    row("a", "lens_flow", 5, {"auc": 0.80, "tpr0": 0.1}),
    row("b", "lens_flow", 5, {"auc": 0.83, "tpr0": 0.3}),
    row("c", "lens_flow", 5, {"auc": 0.85, "tpr0": 0.2}),
    row("d", "wsi_net", 5, {"auc": 0.90, "tpr0": 0.5}),
    row("e", "wsi_net", 5, {"auc": 0.91}),
    row("f", "wsi_net", 10, {"auc": 0.5}),
    row("g", "wsi_net", 5, {"auc": 0.1}, family="another"),
]


def test_repeats_of_a_row_are_its_mean_its_deviation_and_the_changes_of_all_pairs() -> None:
    first, second = repeats(ROWS)
    assert (first.name, first.epochs, first.count, second.name, second.count) == ("lens_flow", 5, 3, "wsi_net", 2)
    assert first.mean["auc"] == pytest.approx(0.8267, abs=1e-4)
    assert first.deviation["auc"] == pytest.approx(0.02517, abs=1e-5)
    assert sorted(first.changes["auc"]) == pytest.approx([0.02, 0.03, 0.05])
    assert "tpr0" not in second.mean  # one of them does not have it


def test_the_mean_and_the_largest_change_are_over_all_pairs() -> None:
    found = changes(repeats(ROWS))
    assert found["auc"].mean == pytest.approx((0.02 + 0.03 + 0.05 + 0.01) / 4)
    assert (found["auc"].largest, found["auc"].where) == (pytest.approx(0.05), "lens_flow, 5 epochs")
    assert "AUC      changes by 2.75 % on average, by 5.00 % at most (lens_flow, 5 epochs)" in lines(found)


def test_a_training_that_was_recorded_twice_is_no_repeat() -> None:
    twice = [row("a", "lens_flow", 5, {"auc": 0.8}), row("b", "lens_flow", 5, {"auc": 0.8}, recipe="recipe a")]
    assert repeats(twice) == []


def test_only_trainings_on_the_same_data_are_repeats_and_it_is_said_what_was_taken_together() -> None:
    split = [row("a", "lens_flow", 5, {"auc": 0.8}, tested="1"), row("b", "lens_flow", 5, {"auc": 0.9}, tested="2")]
    (cell,) = repeats(split)
    assert (cell.count, cell.selections) == (2, 2)  # the seed draws the split, too
    assert pooled([cell]) == ["lens_flow: seeds 1 on the same data, tested on 2 selections of objects"]
    elsewhere = [row(name, "lens_flow", 5, {"auc": 0.1}, dataset="other") for name in "cd"]
    assert [each.mean["auc"] for each in repeats([*split, *elsewhere])] == pytest.approx([0.85, 0.1])
    assert repeats([split[0], elsewhere[0]]) == []
    own = {**split[0].settings, "test_dataset": "there"}
    apart = [row(name, "lens_flow", 5, {}, tested=name, settings=own) for name in "ef"]
    assert repeats(apart) == []  # two sets to test on
    alike = [row(name, "lens_flow", 5, {"auc": 0.5}, tested="e", settings=own) for name in "ef"]
    assert "lens_flow: seeds 1 on the same data (0123 tested on e), tested on the same objects" in pooled(
        repeats([*split, *alike])
    )


def test_a_training_that_was_recorded_twice_counts_once_among_its_repeats() -> None:
    (cell,) = repeats([*ROWS[:2], row("h", "lens_flow", 5, {"auc": 0.83, "tpr0": 0.3}, recipe="recipe b")])
    assert (cell.count, cell.mean["auc"]) == (2, pytest.approx(0.815))
