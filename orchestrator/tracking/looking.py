"""Looks at a database before it is opened as a store, which would write its tables into whatever it is."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from filelock import FileLock

from orchestrator.errors import TrackingError, first_line, without_password

if TYPE_CHECKING:
    from sqlalchemy import URL

DEFAULT = "sqlite:///mlflow.db"

MLFLOW, OPTUNA = "experiments", "version_info"
"""A table that each has, and the other has not."""

NO_DATABASE = "it is no SQLite database"

SMALLEST = 512
"""Bytes of a SQLite database that has tables: one page."""


def look(uri: str, whose: str, migrations: Path, own: frozenset[str] = frozenset()) -> None:
    """Refuse a database that is no store of MLflow's or of Optuna's, or one of another schema; nothing is written.

    Args:
        uri: of SQLite or PostgreSQL.
        whose: the table that tells that it is: MLFLOW or OPTUNA.
        migrations: the folder of its schemas.
        own: tables that one of the present schema has; if all are there, the schema is not looked at.

    Raises:
        TrackingError: it says what it is instead.
    """
    problem = _problem(uri, whose, migrations, own)
    path = database(uri)
    if problem and path and Path(f"{path}.lock").exists():  # another process may be making it just now
        with FileLock(f"{path}.lock"):
            problem = _problem(uri, whose, migrations, own)
    if problem:
        kind = "MLflow store" if whose == MLFLOW else "Optuna storage"
        raise TrackingError(f"{without_password(uri)}: cannot open this {kind}: {problem}")


def chosen(uri: str | None) -> str:
    """The MLflow store that is meant: by default MLFLOW_TRACKING_URI, then `mlflow.db` in the working directory."""
    return uri or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT


def database(uri: str) -> Path | None:
    """The file behind a SQLite URI; None for any other store."""
    return Path(unquote(uri.removeprefix("sqlite:///"))) if uri.startswith("sqlite:///") else None


def same(uri: str, other: str) -> bool:
    """Whether two addresses are of one database."""
    paths = database(uri), database(other)
    if paths[0] and paths[1]:
        return paths[0].resolve() == paths[1].resolve()
    if any(paths) or not (uri.startswith("postgresql") and other.startswith("postgresql")):
        return False
    from sqlalchemy import make_url

    return _place(make_url(uri)) == _place(make_url(other))


def _place(url: URL) -> tuple[object, ...]:
    """Server, database and, by the options of a connection, schema."""
    return url.host or url.query.get("host"), url.port or 5432, url.database, url.query.get("options")


def _problem(uri: str, whose: str, migrations: Path, own: frozenset[str]) -> str | None:
    path = database(uri)
    if path is not None:
        if path.is_dir():
            return "it is a folder"
        # By its size and by SQLite alone: whoever closes a file ends all locks that SQLite has on it in this process.
        if not path.exists() or path.stat().st_size == 0:
            return None
        if path.stat().st_size < SMALLEST:
            return NO_DATABASE
    try:
        tables, revision = _tables(uri, path)
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_NOTADB:
            return NO_DATABASE
        raise TrackingError(f"{uri}: cannot read this database: {first_line(error)}") from error
    name, other = ("MLflow", OPTUNA) if whose == MLFLOW else ("Optuna", MLFLOW)
    if whose in tables and other in tables:
        return "MLflow and Optuna have both written to it, and each needs a database of its own"
    if other in tables:
        return f"it is one of {'Optuna' if name == 'MLflow' else 'MLflow'}, and each needs a database of its own"
    if tables and whose not in tables and tables != {"alembic_version"}:
        return f"it is a database of others, with the tables {', '.join(sorted(tables)[:5])}"
    if revision is None or (own and own <= tables):
        return None
    from alembic.script import ScriptDirectory

    head = ScriptDirectory(str(migrations)).get_current_head()
    command = "mlflow db upgrade URI" if whose == MLFLOW else "optuna storage upgrade --storage URI"
    if revision == head:
        return None
    return f"it is of another version of {name}: schema {revision}, and not {head} (`{command}` changes an older one)"


def _tables(uri: str, path: Path | None) -> tuple[set[str], str | None]:
    """The names of all tables, and the revision of the schema."""
    if path is not None:
        with contextlib.closing(sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True)) as connection:
            names = {each for (each,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            found = (
                connection.execute("SELECT version_num FROM alembic_version").fetchone()
                if "alembic_version" in names
                else None
            )
        return {each for each in names if not each.startswith("sqlite_")}, found[0] if found else None
    from sqlalchemy import NullPool, create_engine, inspect, text

    engine = create_engine(uri, poolclass=NullPool, connect_args={"connect_timeout": 5})
    with engine.connect() as server:
        names = set(inspect(server).get_table_names())
        found = (
            server.execute(text("SELECT version_num FROM alembic_version")).fetchone()
            if "alembic_version" in names
            else None
        )
    return names, found[0] if found else None
