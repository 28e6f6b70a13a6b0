"""Opens the MLflow store, and makes it where there is none."""

from __future__ import annotations

import logging
import os
import sqlite3
import warnings
from pathlib import Path

from filelock import FileLock
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.errors import TrackingError

__all__ = ["DEFAULT", "MlflowClient", "MlflowException", "connect", "database", "experiment", "mlflow"]

DEFAULT = "sqlite:///mlflow.db"

KIND = {"mlflow.experimentKind": "custom_model_development"}
"""So that MLflow's pages show runs and metrics first, and not chats."""

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # deprecations inside MLflow's own imports are not ours to mend
    import mlflow
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException


def connect(uri: str | None = None) -> str:
    """Make every later call of MLflow in this process go to that store, and return its URI.

    A SQLite store is created once, under a lock: processes that create one together break it for good.

    Args:
        uri: by default MLFLOW_TRACKING_URI, then `mlflow.db` in the working directory.

    Raises:
        TrackingError: it cannot be reached.
    """
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # two lines for each run that ends
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    path = database(uri)
    if path is not None:  # MLflow keeps stores by their URI: the same name elsewhere is another store
        uri = f"sqlite:///{path.absolute()}"
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    try:
        if path is None:
            _reach()
        else:
            _create(path)
    except (MlflowException, SQLAlchemyError, OSError, sqlite3.Error) as error:
        raise TrackingError(f"{uri}: cannot open this MLflow store: {_first_line(error)}") from None
    return uri


def database(uri: str) -> Path | None:
    """The file behind a SQLite URI; None for any other store."""
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


def experiment(name: str) -> str:
    """Return the identifier of the experiment of that name, made on first use; `mlflow run` decides it there."""
    if "MLFLOW_EXPERIMENT_ID" in os.environ:
        return os.environ["MLFLOW_EXPERIMENT_ID"]
    client = MlflowClient()
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    path = database(mlflow.get_tracking_uri())
    location = (path.absolute().parent / "mlartifacts").as_uri() if path else None
    try:
        return str(client.create_experiment(name, artifact_location=location, tags=KIND))
    except MlflowException:  # another process was faster
        found = client.get_experiment_by_name(name)
        if found is None:
            raise
        return str(found.experiment_id)


def _create(path: Path) -> None:
    path.absolute().parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fresh = not path.exists()
        MlflowClient().search_experiments(max_results=1)
        if fresh:  # readers and one writer at a time, without waiting for each other
            with sqlite3.connect(path) as connection:
                connection.execute("PRAGMA journal_mode=WAL")


def _reach() -> None:
    """Ask once, for five seconds: MLflow's own patience is over four minutes of silence."""
    patience = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}
    before = {key: os.environ.pop(key, None) for key in patience}
    os.environ.update(patience)
    try:
        MlflowClient().search_experiments(max_results=1)
    finally:
        for key, value in before.items():
            del os.environ[key]
            if value is not None:
                os.environ[key] = value


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
