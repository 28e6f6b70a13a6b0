"""Execution times, averaged over epoch counts."""

from __future__ import annotations

import pytest

from orchestrator.reports.execution import executions
from tests.reports.test_tables import row

HOW = {"timing.device": "a processor", "timing.batch_size": "32"}


def timed(run: str, model: str, epochs: int, seconds: float, **how: str) -> object:
    metrics = {"seconds_per_image": seconds, "network_seconds_per_image": seconds / 2, "cold_start_seconds": 0.5}
    return row(run, model, epochs, metrics, settings={**HOW, **{f"timing.{key}": value for key, value in how.items()}})


def test_times_of_a_network_are_averaged_over_its_epoch_counts_without_outliers() -> None:
    seconds = [0.010, 0.011, 0.0105, 0.0102, 0.09]
    rows = [timed(str(n), "lens_flow", n + 1, each) for n, each in enumerate(seconds)]
    (found,) = executions(rows)  # type: ignore[arg-type]
    assert found.end_to_end == pytest.approx(sum(seconds[:4]) / 4)
    assert found.alone == pytest.approx(found.end_to_end / 2)
    assert (found.cold, found.rows, found.outliers, found.device) == (0.5, 4, 1, "a processor")


def test_times_on_other_devices_are_not_mixed_and_rows_without_times_are_left_out() -> None:
    rows = [
        timed("a", "lens_flow", 1, 0.01),
        timed("b", "lens_flow", 1, 0.001, device="a GPU"),
        row("c", "x", None, {}),
    ]
    assert [(each.device, each.end_to_end) for each in executions(rows)] == [("a GPU", 0.001), ("a processor", 0.01)]  # type: ignore[arg-type]
