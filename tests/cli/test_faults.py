"""Sweeps whose processes are killed, and that servers and disks fail under: each ends as if nothing had happened.

After each fault every training that was asked for is there once, with the results of an undisturbed sweep, and
`orchestrator doctor` finds nothing.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient

from orchestrator.cli import STOPPED
from orchestrator.errors import AWAY
from tests.cli.calling import ENVIRONMENT, invoke, start
from tests.cli.faulty import (
    Results,
    call,
    check,
    children,
    folder,
    lines_until,
    results,
    sweep,
    wait_until,
)
from tests.servers import Server

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, small_space: Path) -> Results:
    """The results of the study `faulty` where nothing happens."""
    at = folder(tmp_path_factory.mktemp("undisturbed"), small_space)
    call(at, "sweep", "--study", "faulty.toml")
    found = results(at)
    assert len(found) == 4
    return found


def test_a_worker_that_is_killed_is_replaced_and_all_go_on_when_their_launcher_is(
    tmp_path: Path, small_space: Path, undisturbed: Results
) -> None:
    at = folder(tmp_path, small_space)
    launcher = sweep(at, "--workers", "2")
    lines_until(launcher, "epoch 4")
    killed, other = children(launcher.pid)
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: len(set(children(launcher.pid)) - {killed}) == 2)
    workers = set(children(launcher.pid)) - {killed}
    assert other in workers
    launcher.kill()
    # Nobody reads what they say any more; a file would.
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))
    call(at, "sweep", "--study", "faulty.toml")
    check(at, undisturbed, lost=True)


def test_two_launchers_share_the_work(tmp_path: Path, small_space: Path, undisturbed: Results) -> None:
    at = folder(tmp_path, small_space)
    first = sweep(at)
    lines_until(first, "epoch 1/")
    call(at, "sweep", "--study", "faulty.toml")
    _, told = first.communicate(timeout=240)
    assert first.returncode == 0, told
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


def test_a_tracking_server_that_is_away_for_a_while_is_waited_for(
    tmp_path: Path, small_space: Path, undisturbed: Results, tracking_server: Server
) -> None:
    at = folder(tmp_path / "work", small_space)
    launcher = sweep(at, "--tracking-uri", tracking_server.uri)
    lines_until(launcher, "epoch 4/")
    tracking_server.kill()
    lines_until(launcher, f"{tracking_server.uri} does not answer")
    time.sleep(10)
    tracking_server.start()
    _, told = launcher.communicate(timeout=240)
    assert launcher.returncode == 0, told
    check(at, undisturbed, "--tracking-uri", tracking_server.uri)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes wait for a server for two seconds instead of two minutes."""
    monkeypatch.setitem(ENVIRONMENT, "MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")


@pytest.mark.usefixtures("impatient")
def test_what_was_trained_when_a_server_failed_is_kept_and_can_be_recorded_when_it_is_back(
    tmp_path: Path, small_space: Path, undisturbed: Results, tracking_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = folder(tmp_path / "work", small_space)
    options = ("--tracking-uri", tracking_server.uri.replace("//", "//somebody:secret@"))
    stopped = sweep(at, *options)
    lines_until(stopped, "epoch 4/")
    tracking_server.kill()
    _, told = stopped.communicate(timeout=60)
    assert stopped.returncode == AWAY, told
    assert tracking_server.uri.removeprefix("http://127.0.0.1") in told
    assert "goes on from here" in told
    assert "secret" not in told
    monkeypatch.chdir(at)
    assert "secret" not in invoke("sweep", "--study", "faulty.toml", *options, expect=AWAY).output

    tracking_server.start()
    (kept,) = (at / "checkpoints").rglob("*.pt")
    notes = torch.load(kept, weights_only=True)["notes"]
    ((epoch, metrics),) = notes["unrecorded"].items()
    line = f"epoch {epoch} of run {notes['run_id']} not recorded"
    assert line in call(at, "doctor", *options, expect=1)
    assert line in call(at, "doctor", "--mend", *options)
    assert "nothing to mend" in call(at, "doctor", *options)
    client = MlflowClient(tracking_server.uri)
    for name, value in metrics.items():
        history = {point.step: point.value for point in client.get_metric_history(notes["run_id"], name)}
        assert sorted(history) == list(range(1, epoch + 1))
        assert history[epoch] == value
    assert [each.path for each in client.list_artifacts(notes["run_id"]) if each.path == "checkpoint.pt"]
    told = invoke("sweep", "--study", "faulty.toml", *options).stderr
    assert f"trial 2  epoch {epoch}/" not in told  # it goes on as the third trial
    assert f"trial 2  epoch {epoch + 1}/" in told
    check(at, undisturbed, *options)


def test_a_full_disk_is_told_and_the_sweep_goes_on_when_there_is_room(
    tmp_path: Path, small_space: Path, undisturbed: Results
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=26m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a small disk takes the right to mount one: {mounted.stderr.decode().strip()}")
    try:
        at = folder(disk / "work", small_space)
        full = sweep(at)
        _, told = full.communicate(timeout=240)
        assert full.returncode == AWAY, told
        assert "goes on from here" in told
        subprocess.run(["mount", "-o", "remount,size=500m", str(disk)], check=True)
        call(at, "sweep", "--study", "faulty.toml")
        check(at, undisturbed, lost=True)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
