"""The MLflow store: made once, found again, and told of when it is out of reach."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.errors import TrackingError, Unreachable
from orchestrator.tracking import records, runs, store

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.slow
def test_processes_that_open_a_fresh_store_at_once_all_work() -> None:
    code = "from orchestrator.tracking import store; store.connect(); print(store.experiment('shared'))"
    processes = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    told = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, told
    assert len({output for output, _ in told}) == 1
    assert Path("mlflow.db").exists()


def test_a_server_that_is_not_there_is_told_with_its_address() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(Unreachable, match=f"http://127.0.0.1:{port}: cannot open"):
        store.connect(f"http://127.0.0.1:{port}")


def test_a_file_that_is_no_database_is_refused_and_left_as_it_is() -> None:
    Path("mlflow.db").write_text("a shopping list")
    with pytest.raises(TrackingError, match=r"mlflow\.db: cannot open"):
        store.connect()
    assert Path("mlflow.db").read_text() == "a shopping list"


@pytest.mark.slow
def test_a_run_says_how_it_ended_and_what_is_nan_is_left_out() -> None:
    store.connect()
    client = store.MlflowClient()
    experiment = store.experiment("ends")
    expected = {None: "FINISHED", ValueError: "FAILED", KeyboardInterrupt: "KILLED"}
    for raised, status in expected.items():
        run_id = runs.begin(experiment, "trial", "x")
        try:
            with runs.running(run_id):
                runs.log_metrics(run_id, {"auc": 0.5, "tpr": float("nan")}, 1)
                if raised:
                    raise raised
        except (ValueError, KeyboardInterrupt):
            pass
        run = client.get_run(run_id)
        assert (run.info.status, run.data.metrics) == (status, {"auc": 0.5})
    with pytest.raises(TrackingError, match="no rows of a study 'ends'"):
        records.rows("ends")
    assert not records.exists("0123456789abcdef")
