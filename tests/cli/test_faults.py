"""Sweeps whose processes are killed: each ends as if nothing had happened.

After each fault every training that was asked for is there once, with the results of an undisturbed sweep, and
`orchestrator doctor` finds nothing.
"""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli import STOPPED
from tests.cli.calling import start
from tests.cli.faulty import (
    STUDY,
    Results,
    call,
    check,
    children,
    folder,
    lines_until,
    sweep,
    wait_until,
)

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def test_a_worker_that_is_killed_is_replaced(tmp_path: Path, small_space: Path, undisturbed: Results) -> None:
    at = folder(tmp_path, small_space)
    launcher = sweep(at, "--workers", "2")
    lines_until(launcher, "epoch 4")
    os.kill(children(launcher.pid)[0], signal.SIGKILL)
    _, told = launcher.communicate(timeout=240)
    assert launcher.returncode == 0, told
    check(at, undisturbed, lost=True)


def test_workers_whose_launcher_is_killed_go_on(tmp_path: Path, small_space: Path, undisturbed: Results) -> None:
    at = folder(tmp_path, small_space)
    launcher = sweep(at, "--workers", "2")
    lines_until(launcher, "epoch 4")
    workers = children(launcher.pid)
    launcher.kill()
    # Nobody reads what they say any more; a file would.
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))
    call(at, "sweep", "--study", "faulty.toml")
    check(at, undisturbed)


def test_two_launchers_share_the_work(tmp_path: Path, small_space: Path, undisturbed: Results) -> None:
    at = folder(tmp_path, small_space)
    first = sweep(at)
    lines_until(first, "epoch 1/")
    second = sweep(at)
    for each in (first, second):
        _, told = each.communicate(timeout=240)
        assert each.returncode == 0, told
    call(at, "sweep", "--study", "faulty.toml")
    check(at, undisturbed)


def test_a_worker_of_a_cluster_that_is_ended_goes_on_when_it_is_started_again(
    tmp_path: Path, small_space: Path, undisturbed: Results
) -> None:
    at = folder(tmp_path, small_space)
    for sent, epoch in ((signal.SIGTERM, 5), (signal.SIGINT, 9)):
        worker = start("worker", "--study", "faulty.toml", at=at)
        lines_until(worker, f"epoch {epoch}")
        worker.send_signal(sent)
        _, told = worker.communicate(timeout=60)
        assert worker.returncode == STOPPED, told
        assert "The same command goes on from here." in told
        assert "Traceback" not in told
    call(at, "sweep", "--study", "faulty.toml")
    check(at, undisturbed, lost=True)


def test_a_search_is_shared_by_workers_and_its_figures_are_attached(tmp_path: Path, small_space: Path) -> None:
    search = STUDY.partition("[vary]")[0].replace(
        "epochs = [2, {epochs}]", 'epochs = [1, 2]\nsearch = "hybrid"\ntrials = 6'
    )
    vary = "[vary]\nlearning_rate = {{ low = 1e-4, high = 1e-2, log = true }}"
    (tmp_path / "faulty.toml").write_text((search + vary).format(data=small_space))
    call(tmp_path, "sweep", "--study", "faulty.toml", "--workers", "2")
    rows: list[dict[str, Any]] = json.loads(call(tmp_path, "table", "--study", "faulty", "--format", "json"))
    begun = [row["recipe"] for row in rows if row["epochs"] == 1]
    assert len(begun) == len(set(begun)) == 6
    assert 2 <= len([row for row in rows if row["epochs"] == 2]) < 6
    told = call(tmp_path, "studies", "show", "faulty")
    assert "learning_rate" in told
    assert max(f"{row['val_auc']:.4f}" for row in rows if row["epochs"] == 2) in told
    (page,) = (tmp_path / "mlartifacts").rglob("search.html")
    assert "lens_flow-importances" in page.read_text()
    assert "nothing to mend" in call(tmp_path, "doctor")
