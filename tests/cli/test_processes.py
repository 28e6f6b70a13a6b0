"""The command line as real processes: serving pages, and under `mlflow run`."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import httpx
import optuna
import pytest
from mlflow import MlflowClient

from orchestrator.studies import storage
from orchestrator.tracking import store
from tests.cli.calling import ENVIRONMENT, invoke, start
from tests.conftest import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

STUDY = """
data = "{data}"
architectures = ["lens_flow"]
epochs = [2, 3]
"""


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def read(address: str, body: bytes | None = None) -> str:
    """What a server answers once it does."""
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
    for _ in range(120):
        with contextlib.suppress(OSError):
            return urllib.request.urlopen(request, timeout=30).read().decode()
        time.sleep(0.5)
    raise AssertionError(f"{address} does not answer")


def refusal(*arguments: str, at: Path) -> str:
    with contextlib.chdir(at):
        return invoke(*arguments, expect=2).stderr


def test_the_ui_shows_both_stores_on_this_machine_alone_and_ends_both(tmp_path: Path) -> None:
    store.connect(f"sqlite:///{tmp_path}/mlflow.db")
    store.experiment("shown")
    assert "there is no such storage" in refusal("ui", "--optuna", at=tmp_path)
    optuna.create_study(study_name="searched", storage=storage.connect(f"sqlite:///{tmp_path}/optuna.db"))
    port, other = free_port(), free_port()
    process = start("ui", "--port", str(port), "--optuna", "--optuna-port", str(other), at=tmp_path)
    try:
        assert "MLflow" in read(f"http://127.0.0.1:{port}/")
        found = read(
            f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/search", json.dumps({"max_results": 100}).encode()
        )
        assert "shown" in {each["name"] for each in json.loads(found)["experiments"]}
        assert "Optuna Dashboard" in read(f"http://127.0.0.1:{other}/dashboard")
        listed = json.loads(read(f"http://127.0.0.1:{other}/api/studies"))["study_summaries"]
        assert [each["study_name"] for each in listed] == ["searched"]
        for address in (
            f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/create",
            f"http://127.0.0.1:{other}/api/studies",
        ):
            for headers in (
                {"Host": "10.example.org"},
                {"Host": "evil.example.org"},
                {"Origin": "http://evil.example.org"},
            ):
                assert httpx.post(address, json={"name": "evil"}, headers=headers).status_code == 403
        assert f"127.0.0.1:{port}" in refusal("ui", "--port", str(port), at=tmp_path)
        options = ("--port", str(free_port()), "--optuna", "--optuna-port", str(other))
        assert "--optuna-port" in refusal("ui", *options, at=tmp_path)
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    for each in (port, other):
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", each)) != 0


@pytest.mark.parametrize("entry", ["main", "sweep"])
def test_mlflow_runs_the_project_and_the_work_attaches_to_its_run(entry: str, tmp_path: Path, tiny_space: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    for name in ("orchestrator", "architectures", "search_spaces"):
        shutil.copytree(ROOT / name, project / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("MLproject", "conda.yaml", "constraints.txt"):
        shutil.copy(ROOT / name, project)
    (project / "search_spaces" / "tiny.toml").write_text(STUDY.format(data=tiny_space))
    address = f"sqlite:///{tmp_path}/store.db"
    given = {"main": {"model": "lens_flow", "data": str(tiny_space), "epochs": "1,2"}, "sweep": {"study": "tiny"}}
    parameters = [word for key, value in given[entry].items() for word in ("-P", f"{key}={value}")]
    command = [sys.executable, "-m", "mlflow", "run", ".", "-e", entry, "--env-manager", "local", *parameters]
    done = subprocess.run(
        command, cwd=project, env={**ENVIRONMENT, "MLFLOW_TRACKING_URI": address}, capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    client = MlflowClient(address)
    runs = client.search_runs([each.experiment_id for each in client.search_experiments()])
    kinds = sorted(run.data.tags["kind"] for run in runs)
    assert kinds == {"main": ["row", "row", "trial"], "sweep": ["row", "row", "study", "trial"]}[entry]
    assert {run.info.status for run in runs} == {"FINISHED"}
    (root,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert root.data.params.items() >= given[entry].items()  # what `mlflow run` wrote, beside what the work wrote
    assert root.data.tags["mlflow.project.entryPoint"] == entry
