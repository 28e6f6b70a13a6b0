"""What a failure means: later, refused, or a mistake of ours: real servers, proxies and databases."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from optuna.exceptions import StorageInternalError

from orchestrator.errors import OrchestratorError, Refused, TrackingError, Unreachable
from orchestrator.tracking import artifacts, failures, models, records, registry, runs, store
from tests.servers import Server, proxy

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def impatient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    started = Server(tmp_path_factory.mktemp("server"))
    try:
        started.start()
        yield started
    finally:
        started.kill()


def kind(call: Callable[[], Any]) -> type[OrchestratorError] | None:
    """What a call is told to have failed by."""
    try:
        call()
    except Exception as error:
        told = failures.told(error) or (error if isinstance(error, OrchestratorError) else None)
        return type(told) if told else None
    raise AssertionError("it did not fail")


@pytest.mark.slow
def test_what_a_server_answers_says_whether_it_may_work_later(server: Server) -> None:
    status: list[int | None] = [None]
    with proxy(server, lambda method, path: status[0]) as uri:
        store.connect(uri)
        experiment = store.experiment("failing")
        run_id = runs.begin(experiment, "trial", "x")
        artifacts.log_text(run_id, "y", "a.txt")
        assert artifacts.text(run_id, "a.txt") == "y"
        calls: list[Callable[[], Any]] = [
            lambda: records.exists(run_id),
            lambda: store.run_of(run_id),
            lambda: artifacts.text(run_id, "a.txt"),
            lambda: models.load(f"runs:/{run_id}/model", models.torch.device("cpu")),
            lambda: models.load("models:/lens-finder-space@champion", models.torch.device("cpu")),
            lambda: registry.champion("space"),
            lambda: runs.log_metrics(run_id, {"auc": 1.0}),
            lambda: records.rows("none"),
        ]
        expected: dict[int, type[OrchestratorError]] = {
            **dict.fromkeys((0, 408, 429, 500, 502, 503, 504), Unreachable),
            **dict.fromkeys((401, 403, 404, 405, 413), Refused),
        }
        for status[0], wanted in expected.items():
            for number, each in enumerate(calls):
                assert kind(each) is wanted, (status, number)
        status[0] = None
        assert records.exists(run_id)
        assert not records.exists("0" * 32)
        assert kind(lambda: store.run_of("0" * 32)) is TrackingError
        assert kind(lambda: artifacts.text(run_id, "b.txt")) is TrackingError
        assert kind(lambda: models.load("models:/nobody@champion", models.torch.device("cpu"))) is TrackingError
        assert registry.champion("space") is None
        store.MlflowClient().delete_experiment(experiment)
        assert kind(lambda: runs.begin(experiment, "trial", "x")) is Refused


@pytest.mark.slow
def test_a_file_that_a_server_lists_and_does_not_give_fails_by_its_answer(server: Server) -> None:
    answers: dict[str, int] = {}

    def fails(method: str, path: str) -> int | None:
        return answers.get("now") if "/mlflow-artifacts/artifacts/" in path and method == "GET" else None

    with proxy(server, fails) as uri:
        store.connect(uri)
        run_id = runs.begin(store.experiment("files"), "trial", "x")
        artifacts.log_text(run_id, "y", "a.txt")
        for answers["now"], wanted in {503: Unreachable, 403: Refused, 404: TrackingError, 0: Unreachable}.items():
            assert kind(lambda: artifacts.text(run_id, "a.txt")) is wanted, answers


def test_a_locked_database_may_work_later_and_one_without_tables_will_not(tmp_path: Path) -> None:
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path}/a.db", connect_args={"timeout": 0.1})
    with sqlite3.connect(tmp_path / "a.db") as other:
        other.execute("CREATE TABLE there (x)")
        other.execute("BEGIN EXCLUSIVE")
        assert kind(lambda: _run(engine, "INSERT INTO there VALUES (1)")) is Unreachable
        other.rollback()
    assert kind(lambda: _run(engine, "INSERT INTO elsewhere VALUES (1)")) is Refused
    engine.dispose()


def _run(engine: sqlalchemy.Engine, statement: str) -> None:
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text(statement))


def test_an_error_is_what_it_came_of_and_a_mistake_of_ours_is_none() -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    busy = sqlalchemy.exc.TimeoutError("pool")

    def raised(error: Exception, of: Exception) -> Exception:
        try:
            raise of
        except Exception:
            try:
                raise error
            except Exception as made:
                return made

    assert isinstance(failures.told(raised(RuntimeError("cannot write"), full)), Unreachable)
    assert isinstance(failures.told(raised(StorageInternalError("commit"), busy)), Unreachable)
    copying = MlflowException("the code path cannot be copied", error_code=INVALID_PARAMETER_VALUE)
    assert "No space left on device" in str(told := failures.told(raised(copying, full)))
    assert isinstance(told, Unreachable)
    assert isinstance(failures.told(PermissionError(errno.EACCES, "Permission denied", "x")), Refused)
    assert failures.told(raised(TypeError("of ours"), full)) is None
    assert failures.told(ValueError("of ours")) is None
    assert failures.told(FileNotFoundError(errno.ENOENT, "No such file", "x")) is None
    assert failures.told(BrokenPipeError(errno.EPIPE, "Broken pipe")) is None
