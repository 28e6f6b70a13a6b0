"""Sweeps whose processes are killed: each ends as if nothing had happened.

After each fault every training that was asked for is there once, with the results of an undisturbed sweep, and
`orchestrator doctor` finds nothing.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from orchestrator.cli import STOPPED
from tests.cli.calling import start
from tests.cli.faulty import (
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
