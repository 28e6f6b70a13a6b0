"""Sweeps that processes, servers and disks fail under: each ends as if nothing had happened.

After each fault every training that was asked for is there once, with the results of an undisturbed sweep, and
`orchestrator doctor` finds nothing.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow import MlflowClient

from orchestrator.errors import AWAY
from tests.cli.test_processes import ENVIRONMENT, start
from tests.conftest import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

STUDY = """
data = "{data}"
architectures = ["lens_flow"]
epochs = [2, 12]
[fixed]
batch_size = 16
[vary]
seed = {{ choices = [1, 2, 3] }}
"""
EXACT = ("auc", "tpr", "fpr", "tpr0", "tpr10", "val_auc", "val_loss", "loss")

Results = dict[tuple[str, int], dict[str, float]]


def folder(path: Path, data: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    (path / "faulty.toml").write_text(STUDY.format(data=data))
    return path


def call(at: Path, *arguments: str, expect: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator", *arguments],
        cwd=at, env={**ENVIRONMENT, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stdout


def results(at: Path, *options: str) -> Results:
    rows: list[dict[str, Any]] = json.loads(call(at, "table", "--study", "faulty", "--format", "json", *options))
    found = {(row["seed"], row["epochs"]): {name: row[name] for name in EXACT} for row in rows}
    assert len(found) == len(rows)  # none twice
    return found


def sweep(at: Path, *options: str) -> subprocess.Popen[str]:
    return start("sweep", "--study", "faulty.toml", *options, at=at)


def lines_until(process: subprocess.Popen[str], wanted: str, count: int = 1) -> str:
    """What a process says until it has said something so often."""
    told = ""
    assert process.stderr is not None
    for line in process.stderr:
        told += line
        count -= wanted in line
        if count == 0:
            return told
    raise AssertionError(f"it ended with {process.wait()} and did not say {wanted!r}")


def children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_until(true: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.2)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, small_space: Path) -> Results:
    at = folder(tmp_path_factory.mktemp("undisturbed"), small_space)
    call(at, "sweep", "--study", "faulty.toml")
    found = results(at)
    assert len(found) == 6
    return found


def check(at: Path, undisturbed: Results, *options: str) -> None:
    assert results(at, *options) == undisturbed
    assert "nothing to mend" in call(at, "doctor", *options)


def test_a_worker_that_is_killed_is_replaced(tmp_path: Path, small_space: Path, undisturbed: Results) -> None:
    at = folder(tmp_path, small_space)
    launcher = sweep(at, "--workers", "2")
    lines_until(launcher, "epoch 4")
    os.kill(children(launcher.pid)[0], signal.SIGKILL)
    _, told = launcher.communicate(timeout=240)
    assert launcher.returncode == 0, told
    check(at, undisturbed)


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


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_a_worker_of_a_cluster_that_is_ended_goes_on_when_it_is_started_again(
    sent: signal.Signals, tmp_path: Path, small_space: Path, undisturbed: Results
) -> None:
    at = folder(tmp_path, small_space)
    worker = start("worker", "--study", "faulty.toml", at=at)
    lines_until(worker, "epoch 5")
    worker.send_signal(sent)
    _, told = worker.communicate(timeout=60)
    assert worker.returncode == (-9 if sent == signal.SIGKILL else 130), told
    again = start("worker", "--study", "faulty.toml", at=at)
    _, told = again.communicate(timeout=240)
    assert again.returncode == 0, told
    assert told.count("trial 0  epoch 1 ") == 0  # it went on from a checkpoint
    call(at, "sweep", "--study", "faulty.toml")
    check(at, undisturbed)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Callable[[], subprocess.Popen[bytes]]]]:
    """The address of an MLflow server that is not started yet, and what starts it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started: list[subprocess.Popen[bytes]] = []
    home = tmp_path / "server"
    home.mkdir()
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", f"sqlite:///{home}/mlflow.db", "--artifacts-destination", str(home / "artifacts")),
    ]

    def begin() -> subprocess.Popen[bytes]:
        log = (home / "log").open("ab")
        environment = {**ENVIRONMENT, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        started.append(process)

        def answers() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        wait_until(answers)
        return process

    yield f"http://127.0.0.1:{port}", begin
    for process in started:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
        process.wait()


def test_a_tracking_server_that_is_away_for_a_while_is_waited_for(
    tmp_path: Path, small_space: Path, undisturbed: Results, server: tuple[str, Callable[[], subprocess.Popen[bytes]]]
) -> None:
    uri, begin = server
    running = begin()
    at = folder(tmp_path / "work", small_space)
    launcher = sweep(at, "--tracking-uri", uri)
    lines_until(launcher, "epoch 4/")
    os.killpg(running.pid, signal.SIGKILL)
    lines_until(launcher, f"{uri} does not answer")
    time.sleep(15)
    begin()
    _, told = launcher.communicate(timeout=240)
    assert launcher.returncode == 0, told
    check(at, undisturbed, "--tracking-uri", uri)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes wait for a server for two seconds instead of two minutes."""
    monkeypatch.setitem(ENVIRONMENT, "MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")


@pytest.mark.usefixtures("impatient")
def test_workers_that_a_server_keeps_from_their_work_are_replaced(
    tmp_path: Path, small_space: Path, undisturbed: Results, server: tuple[str, Callable[[], subprocess.Popen[bytes]]]
) -> None:
    uri, begin = server
    running = begin()
    at = folder(tmp_path / "work", small_space)
    launcher = sweep(at, "--tracking-uri", uri, "--workers", "2")
    lines_until(launcher, "epoch 4")
    workers = children(launcher.pid)
    os.killpg(running.pid, signal.SIGKILL)
    wait_until(lambda: not set(workers) & set(children(launcher.pid)))
    begin()
    _, told = launcher.communicate(timeout=240)
    assert launcher.returncode == 0, told
    assert "goes on from here" in told
    check(at, undisturbed, "--tracking-uri", uri)


@pytest.mark.usefixtures("impatient")
def test_what_was_trained_when_a_server_failed_is_kept_and_can_be_recorded_when_it_is_back(
    tmp_path: Path, small_space: Path, undisturbed: Results, server: tuple[str, Callable[[], subprocess.Popen[bytes]]]
) -> None:
    uri, begin = server
    running = begin()
    at = folder(tmp_path / "work", small_space)
    options = ("--tracking-uri", uri.replace("//", "//somebody:secret@"))
    stopped = sweep(at, *options)
    lines_until(stopped, "epoch 4/")
    os.killpg(running.pid, signal.SIGKILL)
    _, told = stopped.communicate(timeout=60)
    assert stopped.returncode == AWAY, told
    assert uri.removeprefix("http://127.0.0.1") in told
    assert "goes on from here" in told
    assert "secret" not in told
    refused = sweep(at, *options)
    _, told = refused.communicate(timeout=60)
    assert refused.returncode == AWAY
    assert "secret" not in told

    begin()
    (kept,) = (at / "checkpoints").rglob("*.pt")
    notes = torch.load(kept, weights_only=True)["notes"]
    ((epoch, metrics),) = notes["unrecorded"].items()
    line = f"epoch {epoch} of run {notes['run_id']} not recorded"
    assert line in call(at, "doctor", *options, expect=1)
    assert line in call(at, "doctor", "--mend", *options)
    assert "nothing to mend" in call(at, "doctor", *options)
    client = MlflowClient(uri)
    for name, value in metrics.items():
        history = {point.step: point.value for point in client.get_metric_history(notes["run_id"], name)}
        assert sorted(history) == list(range(1, epoch + 1))
        assert history[epoch] == value
    assert [each.path for each in client.list_artifacts(notes["run_id"]) if each.path == "checkpoint.pt"]
    again = sweep(at, *options)
    _, told = again.communicate(timeout=240)
    assert again.returncode == 0, told
    assert f"trial 3  epoch {epoch}/" not in told  # it goes on as the fourth trial
    assert f"trial 3  epoch {epoch + 1}/" in told
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
        check(at, undisturbed)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_search_is_shared_by_workers_and_its_figures_are_attached(tmp_path: Path, small_space: Path) -> None:
    search = STUDY.partition("[vary]")[0].replace(
        "epochs = [2, 12]", 'epochs = [1, 2, 4]\nsearch = "hybrid"\ntrials = 8'
    )
    vary = "[vary]\nlearning_rate = {{ low = 1e-4, high = 1e-2, log = true }}"
    (tmp_path / "faulty.toml").write_text((search + vary).format(data=small_space))
    call(tmp_path, "sweep", "--study", "faulty.toml", "--workers", "2")
    rows: list[dict[str, Any]] = json.loads(call(tmp_path, "table", "--study", "faulty", "--format", "json"))
    begun = [row["recipe"] for row in rows if row["epochs"] == 1]
    assert len(begun) == len(set(begun)) == 8
    assert 2 <= len([row for row in rows if row["epochs"] == 4]) < 8
    told = call(tmp_path, "studies", "show", "faulty")
    assert "learning_rate" in told
    assert max(f"{row['val_auc']:.4f}" for row in rows if row["epochs"] == 4) in told
    (page,) = (tmp_path / "mlartifacts").rglob("search.html")
    assert "lens_flow-importances" in page.read_text()
    assert "nothing to mend" in call(tmp_path, "doctor")
