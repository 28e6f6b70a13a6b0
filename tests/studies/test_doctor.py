"""Checkpoints whose runs are elsewhere, broken or half written: nothing is lost that somebody may still go on with."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import mlflow
import pytest
import torch
from mlflow.exceptions import MlflowException

from orchestrator.learning.training import Epoch
from orchestrator.studies import doctor, storage
from orchestrator.studies import sweep as sweeps
from orchestrator.studies.bench import Bench
from orchestrator.studies.trial import CHECKPOINTS
from orchestrator.tracking import records, runs, store
from tests.studies.conftest import study

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def sweep(bench: Bench, name: str, stop_at: int | None = None) -> list[int]:
    """Sweep in stores of that name as the command does, and end like a crash; the epochs that were trained."""
    trained: list[int] = []

    def watch(_architecture: str, _trial: int, epoch: Epoch, _done: int) -> None:
        trained.append(epoch.number)
        if len(trained) == stop_at:
            raise KeyboardInterrupt

    store.connect(f"sqlite:///{name}.db")
    experiment = store.experiment("small")
    own, trials = (
        Bench(bench.cutouts, None, bench.device, experiment, "small"),
        storage.connect(f"sqlite:///o{name}.db"),
    )
    doctor.mend(trials)
    parent = sweeps.begin(experiment, study())
    with contextlib.suppress(KeyboardInterrupt), runs.running(parent):
        assert sweeps.sweep(study(), trials, own, parent, watch) == []
    doctor.mend(trials)
    return trained


def examined(name: str) -> list[str]:
    store.connect(f"sqlite:///{name}.db")
    return [each.what for each in doctor.examine(storage.connect(f"sqlite:///o{name}.db"))]


def mended(name: str) -> None:
    store.connect(f"sqlite:///{name}.db")
    doctor.mend(storage.connect(f"sqlite:///o{name}.db"), asked=True)


def kept() -> list[Path]:
    return sorted(CHECKPOINTS.rglob("*.pt"))


def losses() -> list[tuple[int, float]]:
    (trial,) = records.trials("small")
    return trial.curves["loss"]


def test_two_stores_share_a_folder_and_each_goes_on_from_its_own_checkpoint(bench: Bench) -> None:
    assert sweep(bench, "a", stop_at=2) == [1, 2]
    (ours,) = kept()
    assert torch.load(ours, weights_only=True)["notes"]["store"] == "sqlite:///a.db"
    assert sweep(bench, "b", stop_at=1) == [1]
    assert len(kept()) == 2
    (told,) = examined("b")
    assert str(ours) in told
    assert "which is not in this store but was in sqlite:///a.db" in told
    mended("b")
    assert len(kept()) == 2  # whoever is asked under another store does not know whether it is dead
    assert sweep(bench, "b") == [2, 3]
    undisturbed = losses()
    assert kept() == [ours]
    assert sweep(bench, "a") == [3]
    assert losses() == undisturbed
    assert kept() == []
    assert examined("a") == []


def test_a_checkpoint_of_before_whose_name_has_no_run_is_gone_on_from(bench: Bench) -> None:
    sweep(bench, "a", stop_at=2)
    (ours,) = kept()
    stored = torch.load(ours, weights_only=True)
    del stored["notes"]["store"]
    torch.save(stored, ours.with_stem(ours.stem.rpartition("-")[0]))
    ours.unlink()
    assert examined("b") == [
        f"{kept()[0]} is of run {stored['notes']['run_id']}, which is not in this store but was in a store that it"
        " does not name"
    ]
    assert sweep(bench, "a") == [3]
    assert kept() == []


def test_a_broken_checkpoint_is_set_aside_and_its_training_goes_on_from_the_last_count_in_its_run(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep(bench, "a", stop_at=2)
    (ours,) = kept()
    torn = ours.read_bytes()[:5000]
    ours.write_bytes(torn)
    assert examined("a") == [f"{ours} is not a readable checkpoint"]
    doctor.mend(storage.connect("sqlite:///oa.db"))
    assert kept() == [ours]  # a sweep does not touch it before its turn
    assert sweep(bench, "a") == [2, 3]  # that of the first count is attached to the run
    aside = ours.with_name(f"{ours.name}.broken")
    assert f"{ours}: not a readable checkpoint" in capsys.readouterr().err
    assert aside.read_bytes() == torn
    assert [epoch for epoch, _ in losses()] == [1, 2, 3]  # none twice
    assert [row.epochs for row in records.rows("small")] == [1, 3]
    assert examined("a") == []


def test_without_any_checkpoint_that_can_be_read_a_training_begins_anew_in_its_run(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep(bench, "a", stop_at=2)
    (lost,) = kept()
    run_id = torch.load(lost, weights_only=True)["notes"]["run_id"]
    lost.unlink()
    (attached,) = Path("mlartifacts").rglob("checkpoint.pt")
    attached.write_bytes(attached.read_bytes()[:5000])
    assert sweep(bench, "a") == [1, 2, 3]
    assert f"checkpoint.pt of run {run_id}: not a readable checkpoint" in capsys.readouterr().err
    assert [each.run_id for each in records.trials("small")] == [run_id]
    assert [epoch for epoch, _ in losses()] == [1, 2, 3]
    assert [row.epochs for row in records.rows("small")] == [1, 3]
    assert examined("a") == []


def test_the_checkpoint_of_a_deleted_run_is_taken_away_by_nobody_but_the_doctor(bench: Bench) -> None:
    sweep(bench, "a", stop_at=2)
    (ours,) = kept()
    run_id = torch.load(ours, weights_only=True)["notes"]["run_id"]
    runs.delete(run_id)
    assert sweep(bench, "a", stop_at=1) == [1]
    assert ours in kept()
    mlflow.MlflowClient().restore_run(run_id)
    assert examined("a") == []
    runs.delete(run_id)
    mended("a")
    assert len(kept()) == 1
    assert not ours.exists()


def test_half_a_checkpoint_is_judged_by_the_machine_that_it_is_of(bench: Bench) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    folder = CHECKPOINTS / "small"
    folder.mkdir(parents=True)
    here = folder / f"x.pt.{ended.pid}@{platform.node()}.partial"
    there, before = folder / f"x.pt.{ended.pid}@node-7.cluster.partial", folder / f"x.{ended.pid}.partial"
    at_work = folder / f"x.pt.{os.getppid()}@{platform.node()}.partial"
    for each in (here, there, before, at_work):
        each.write_bytes(b"half")
    assert sorted(examined("a")) == [
        f"{before} is half a checkpoint, of process unknown on an unknown machine",
        *sorted(
            [
                f"{here} is half a checkpoint, of process {ended.pid}, which is gone",
                f"{there} is half a checkpoint, of process {ended.pid} on node-7.cluster",
            ]
        ),
    ]
    doctor.mend(storage.connect("sqlite:///oa.db"))
    assert here.exists()
    mended("a")
    assert sorted(folder.iterdir()) == sorted((there, before, at_work))


def test_a_checkpoint_that_is_gone_when_it_is_opened_is_no_error(bench: Bench) -> None:
    sweep(bench, "a", stop_at=2)
    (ours,) = kept()
    gone = ours.with_stem(f"{ours.stem.rpartition('-')[0]}-{'0' * 32}")
    gone.symlink_to("finished-on-another-node")  # listed, and not there
    assert examined("a") == []
    assert sweep(bench, "a") == [3]


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> Iterator[HTTPServer]:
    """A server that answers every request with its `status`, as a login or a proxy before MLflow does."""

    class Refusing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(self.server.status)  # type: ignore[attr-defined]

        def log_message(self, *_: object) -> None:
            pass

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    server = HTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_a_run_is_missing_only_where_the_store_says_so(bench: Bench, refusing: HTTPServer) -> None:
    known = runs.begin(bench.experiment, "trial", "x")
    assert records.stage(known) == "active"
    runs.delete(known)
    assert (records.stage(known), records.stage("0" * 32)) == ("deleted", None)
    mlflow.set_tracking_uri(f"http://127.0.0.1:{refusing.server_port}")
    for status in (401, 403, 404, 500, 503):
        refusing.status = status  # type: ignore[attr-defined]
        with pytest.raises(MlflowException):
            records.exists(known)
