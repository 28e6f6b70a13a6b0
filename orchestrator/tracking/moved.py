"""Lets a working folder be moved and copied: MLflow keeps absolute places, which follow the folder here."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit
from urllib.request import url2pathname

from orchestrator.data.whole import PARTIAL

ARTIFACTS = "mlartifacts"
"""Where files that are attached to runs lie, beside the database; `mlflow run` may make MLflow's own `mlruns`, too."""

PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Tables and columns of MLflow's with an absolute path or URI."""

SETS = "SELECT rowid, value FROM params WHERE key IN ('dataset', 'test_dataset') AND substr(value, 1, ?) = ?"


class Place(NamedTuple):
    """A place in the database that is not in the folder of the database."""

    table: str
    column: str
    row: int
    folder: Path
    """The working folder that it is in."""
    below: Path
    """Its path in there."""


def follow(database: Path) -> dict[Path, int]:
    """Make a database say that its files are beside it, and return what it said before: folder → places in it.

    Files that are still there and not here, as where a database was copied alone, are still read there; doctor names
    them. New ones are always written here.
    """
    home, followed = database.absolute().parent, dict[Path, int]()
    with closing(sqlite3.connect(database, timeout=60)) as connection, connection:
        for place in list(_elsewhere(connection, home)):
            if place.table != "experiments" and _only_there(place, home) and not _goes_on(connection, place):
                continue
            uri = (home / place.below).as_uri()  # MLflow takes a % in a mere path for an escape
            change = f"UPDATE {place.table} SET {place.column} = ? WHERE rowid = ?"  # noqa: S608 - of PLACES
            connection.execute(change, (uri, place.row))
            followed[place.folder] = followed.get(place.folder, 0) + 1
        for folder in followed:
            before = f"{folder}/"
            for row, value in connection.execute(SETS, (len(before), before)).fetchall():
                path = home / value.removeprefix(before)
                if path.is_dir():
                    connection.execute("UPDATE params SET value = ? WHERE rowid = ?", (str(path), row))
    return followed


def left_behind(database: Path) -> dict[Path, list[Path]]:
    """Folders with files of runs that are not in the folder of the database: folder → their paths in there."""
    home, found = database.absolute().parent, dict[Path, list[Path]]()
    with closing(sqlite3.connect(database, timeout=60)) as connection:
        for place in _elsewhere(connection, home):
            found.setdefault(place.folder, []).append(place.below)
    return {folder: sorted(set(paths)) for folder, paths in found.items()}


def fetch(database: Path, folder: Path, paths: list[Path]) -> None:
    """Copy files of runs from another folder to where the database is, and have it say so."""
    for path in paths:
        here = database.absolute().parent / path
        if (folder / path).is_dir() and not here.exists():
            partial = here.with_name(here.name + PARTIAL)  # half of it under its name would be taken for all
            shutil.copytree(folder / path, partial, dirs_exist_ok=True)
            partial.rename(here)
    follow(database)


def _only_there(place: Place, home: Path) -> bool:
    """Whether files are where they were and not here."""
    return not (home / place.below).exists() and (place.folder / place.below).exists()


def _goes_on(connection: sqlite3.Connection, place: Place) -> bool:
    """Whether a place is of a run that is not finished: what it writes from now on belongs here."""
    status = "SELECT status FROM runs WHERE rowid = ?"
    return place.table == "runs" and connection.execute(status, (place.row,)).fetchone() != ("FINISHED",)


def _elsewhere(connection: sqlite3.Connection, home: Path) -> Iterator[Place]:
    here = f"{home.as_uri()}/"
    for table, column in PLACES:
        places = f"SELECT rowid, {column} FROM {table} WHERE substr({column}, 1, ?) != ?"  # noqa: S608 - of PLACES
        for row, uri in connection.execute(places, (len(here), here)):
            path = _path(uri)
            if path is None or path.is_relative_to(home):
                continue
            folder = _folder(path)
            if folder is not None and not (folder.exists() and folder.samefile(home)):
                yield Place(table, column, row, folder, path.relative_to(folder))


def _path(uri: str) -> Path | None:
    """What an absolute local path or URI names; None of any other."""
    if uri.startswith("file:"):
        return Path(url2pathname(urlsplit(uri).path))
    return Path(uri) if uri.startswith("/") else None


def _folder(path: Path) -> Path | None:
    """The working folder that a place is in; None where it was somebody's choice to have it where it is."""
    for each in path, *path.parents:
        if each.name == ARTIFACTS or (each.parent.name == "mlruns" and each.name.isdigit()):
            return each.parent if each.name == ARTIFACTS else each.parent.parent
    return None
