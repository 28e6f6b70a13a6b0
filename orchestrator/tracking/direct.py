"""Finds a model by what MLflow wrote into a SQLite file, without MLflow, which is slower to import than to ask.

Only what lies as this project puts it is found: a model beside its store. All else is MLflow's: other stores, models
elsewhere, folders that were moved, and what is to be said of a model that is not there.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit
from urllib.request import url2pathname

import torch
import yaml

from orchestrator.tracking import recorded
from orchestrator.tracking.looking import chosen, database
from orchestrator.tracking.recorded import Model

REGISTERED = re.compile(r"models:/(?P<name>[^/@%?#]+)(@(?P<alias>[^/@%?#]+)|/(?P<version>\d+))")
OF_A_RUN = re.compile(r"runs:/(?P<run>\w+)/(?P<name>[^/@%?#]+)")

ALIAS = "SELECT version FROM registered_model_aliases WHERE name = ? AND alias = ?"
VERSION = (
    "SELECT storage_location FROM model_versions"
    " WHERE name = ? AND version = ? AND status = 'READY' AND current_stage != 'Deleted_Internal'"
)
OUTPUT = (
    "SELECT artifact_location FROM logged_models JOIN inputs ON destination_id = model_id"
    " WHERE source_type = 'RUN_OUTPUT' AND source_id = ? AND name = ? AND lifecycle_stage = 'active'"
)


def load(uri: str, device: torch.device, tracking_uri: str | None = None) -> Model | None:
    """Load a model such as ``models:/lens-finder-space@champion``; None where MLflow has to be asked.

    Args:
        uri: as `models.load` takes it.
        device: where to have it.
        tracking_uri: as `store.connect` takes it.

    Raises:
        TrackingError: it was not recorded here, or its file was changed since.
    """
    path = database(chosen(tracking_uri))
    if path is None or not path.is_file():
        return None
    try:
        found = _found(uri, path)
        return found and recorded.read(uri, *found, device)
    except (sqlite3.Error, OSError, yaml.YAMLError):
        return None


def _found(uri: str, path: Path) -> tuple[str, Path, Mapping[str, Any]] | None:
    """The version that a URI names, the folder of its files, and what it was recorded with."""
    place = _place(uri, path)
    if place is None or not place[1].is_relative_to(path.absolute().parent):
        return None
    about = yaml.safe_load((place[1] / "MLmodel").read_bytes())
    about = about.get("metadata") if isinstance(about, dict) else None
    return (*place, about) if isinstance(about, dict) else None


def _place(uri: str, path: Path) -> tuple[str, Path] | None:
    """The version that a URI names, and the folder of its files."""
    registered, of_a_run = REGISTERED.fullmatch(uri), OF_A_RUN.fullmatch(uri)
    with closing(sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True)) as connection:

        def only(query: str, *values: str) -> str | None:
            rows = connection.execute(query, values).fetchmany(2)
            return str(rows[0][0]) if len(rows) == 1 and rows[0][0] is not None else None

        if registered:
            name, alias, number = registered.group("name", "alias", "version")
            number = only(ALIAS, name, alias) if alias else number
            version, place = f"{name}/{number}", number and only(VERSION, name, number)
        elif of_a_run:
            run, name = of_a_run.group("run", "name")
            version, place = f"{run}/{name}", only(OUTPUT, run, name)
        else:
            return None
    if not place or not place.startswith("file:///"):
        return None
    return version, Path(url2pathname(urlsplit(place).path))
