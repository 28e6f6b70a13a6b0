"""Opens the MLflow store, and makes it where there is none."""

from __future__ import annotations

import logging
import math
import os
import re
import sqlite3
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from orchestrator.errors import TrackingError, without_password
from orchestrator.tracking import failures, moved
from orchestrator.tracking.failures import MlflowClient, MlflowException, mlflow
from orchestrator.tracking.looking import DEFAULT, MLFLOW, chosen, database, look, same

__all__ = [
    "DEFAULT", "MlflowClient", "MlflowException", "briefly", "connect", "database", "experiment", "mlflow", "pages",
    "run_of",
]  # fmt: skip

PATIENCE = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "7",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}
"""MLflow tries again after 0, 2, 4, 8, 16, 32 and 64 seconds: that bridges a server's restart, and ends after two
minutes; its defaults take over four. The environment may say otherwise."""

TOLD_EVERY = 60.0
"""Seconds between two lines that say of a server that it does not answer."""

PAGE = 1000
"""Results of a search at once; of registered models MLflow gives no more."""

KIND = {"mlflow.experimentKind": "custom_model_development"}
"""So that MLflow's pages show runs and metrics first, and not chats."""


def connect(uri: str | None = None, storage: str | None = None) -> str:
    """Make every later call of MLflow in this process go to that store, and return its URI.

    A SQLite store is created once, under a lock: processes that create one together break it for good.

    Args:
        uri: by default what `looking.chosen` says.
        storage: of Optuna, where that is opened too: it has to be another database.

    Raises:
        TrackingError: it is no MLflow store; nothing is written to what it is.
        Unreachable: its server does not answer.
    """
    uri = chosen(uri)
    for key, value in PATIENCE.items():
        os.environ.setdefault(key, value)
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # passwords and all
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    path = database(uri)
    refuse_unclear(uri)
    if path is not None:  # MLflow keeps stores by their URI: the same name elsewhere is another store
        uri = f"sqlite:///{str(path.absolute()).replace('%', '%25').replace('?', '%3F')}"
    if storage is not None and same(uri, storage):
        raise TrackingError(
            f"{without_password(storage)}: one database for both stores (--tracking-uri, --storage); MLflow and Optuna"
            " each keep their version in a table alembic_version: give each its own database, or on PostgreSQL its own"
            " schema (?options=-csearch_path%3DNAME)"
        )
    try:
        if path is not None or uri.startswith("postgresql"):
            from mlflow.store.db import base_sql_model, utils  # which knows all tables

            migrations = Path(utils.__file__).parents[1] / "db_migrations"
            look(uri, MLFLOW, migrations, frozenset(base_sql_model.Base.metadata.tables))
        mlflow.set_tracking_uri(uri)
        mlflow.set_registry_uri(uri)
        if path is None:
            _tell_of_waiting(None)
            with briefly():
                MlflowClient().search_experiments(max_results=1)
            _tell_of_waiting(without_password(uri))
        else:
            _create(path)
    except TrackingError:
        raise
    except Exception as error:
        failed = failures.told(error)
        if failed is None:
            raise
        raise type(failed)(without_password(f"{uri}: cannot open this MLflow store: {failed}")) from None
    return uri


def known_as() -> str:
    """The URI of the store without a password, of a file in the working directory relative: that may be moved."""
    path = file()
    if path is not None and path.is_relative_to(Path.cwd()):
        return f"sqlite:///{path.relative_to(Path.cwd())}"
    return without_password(str(mlflow.get_tracking_uri()))


def file() -> Path | None:
    """The file of the store that is connected to; None of a server."""
    return database(str(mlflow.get_tracking_uri()))


def refuse_unclear(uri: str) -> None:
    """Refuse the address of a server that no two readers would take apart alike, since it may hold a password.

    Raises:
        TrackingError: there is a blank in it, or a second @ in that of a database. It does not tell the address.
    """
    if database(uri) is None and (re.search(r"\s", uri) or (not uri.startswith("http") and uri.count("@") > 1)):
        raise TrackingError("the address of a store has a blank or a second @ in it (allowed: %20 and %40 for them)")


def experiment(name: str) -> str:
    """Return the identifier of the experiment of that name, made on first use; `mlflow run` decides it there."""
    if "MLFLOW_EXPERIMENT_ID" in os.environ:
        return os.environ["MLFLOW_EXPERIMENT_ID"]
    client = MlflowClient()
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    path = file()
    location = (path.absolute().parent / moved.ARTIFACTS).as_uri() if path else None
    try:
        return str(client.create_experiment(name, artifact_location=location, tags=KIND))
    except MlflowException:  # another process was faster
        found = client.get_experiment_by_name(name)
        if found is None:
            raise
        return str(found.experiment_id)


def pages(search: Callable[..., Any], **asked: object) -> list[Any]:
    """All that a search of MlflowClient finds: it gives a page at a time."""
    found = list(page := search(**asked, max_results=PAGE))
    while page.token:
        found += (page := search(**asked, max_results=PAGE, page_token=page.token))
    return found


def run_of(run_id: str) -> mlflow.entities.Run:
    """A run of the store.

    Raises:
        TrackingError: it is not there.
    """
    try:
        return MlflowClient().get_run(run_id)
    except Exception as error:
        if failures.absent(error):
            raise TrackingError(f"{run_id}: no such run in {without_password(mlflow.get_tracking_uri())}") from None
        raise failures.told(error) or error from None


def _create(path: Path) -> None:
    path.absolute().parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fresh = not path.exists()
        if fresh:  # readers and one writer at a time, without waiting for each other; its tables are made faster, too
            with sqlite3.connect(path) as connection:
                connection.execute("PRAGMA journal_mode=WAL")
        MlflowClient().search_experiments(max_results=1)
        for before, places in moved.follow(path).items():
            if not fresh:
                here = path.absolute().parent
                sys.stderr.write(
                    f"{here}: was {before} when it was recorded; {places} places in {path.name} follow it\n"
                )


@contextmanager
def briefly() -> Iterator[None]:
    """Ask a server once or twice, for five seconds each, instead of for minutes."""
    patience = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}
    before = {key: os.environ.pop(key, None) for key in patience}
    os.environ.update(patience)
    try:
        yield
    finally:
        for key, value in before.items():
            del os.environ[key]
            if value is not None:
                os.environ[key] = value


class _Waiting(logging.Handler):
    """Says that a server is waited for, where urllib3 would say it in its own words at each try."""

    def __init__(self, uri: str) -> None:
        super().__init__()
        self._uri, self._told = uri, -math.inf

    def emit(self, record: logging.LogRecord) -> None:
        if time.monotonic() - self._told > TOLD_EVERY:
            self._told = time.monotonic()
            sys.stderr.write(f"{self._uri} does not answer; trying again for about two minutes\n")


def _tell_of_waiting(uri: str | None) -> None:
    """Of a server from now on; None: of none, as whoever tries it for the first time tells more."""
    logger = logging.getLogger("urllib3.connectionpool")
    logger.handlers = [_Waiting(uri)] if uri else [logging.NullHandler()]
    logger.propagate = False
    logger.setLevel(logging.WARNING)  # whoever logs a model quietens the root
