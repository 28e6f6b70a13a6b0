"""What tests share: the real cutouts where they are, and small simulated sets made once a process."""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock

from orchestrator.data.challenge import GROUND, SPACE, ImagingSet
from orchestrator.data.simulation import simulate
from orchestrator.learning.devices import keep_memory

ROOT = Path(__file__).parents[1]


class Command:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.folder),)


@pytest.fixture(scope="session", autouse=True)
def ctrl_c_is_heard() -> None:
    """Undo what a shell does to commands in the background: the processes tests start would be deaf to SIGINT."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def nothing_is_kept_in_the_users_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Nor taken from there; the processes that tests start are told, too."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session", autouse=True)
def memory_is_kept() -> None:
    """As in every process that computes: trainings take less time."""
    keep_memory()


@pytest.fixture(scope="session", autouse=True)
def mlflow_makes_its_tables_once() -> Iterator[None]:
    """Copy them into each further SQLite store: MLflow makes them by all of its migrations, which takes seconds.

    Whoever starts a process that would make a store connects to it here first. Where faults are tried at every place,
    the making is one of them, and nothing is copied.
    """
    if "mlflow" not in sys.modules or "EVERY_FAULT" in os.environ:
        yield
        return
    from mlflow.store.db import utils

    made = utils._initialize_tables
    with closing(sqlite3.connect(":memory:", check_same_thread=False)) as tables, pytest.MonkeyPatch.context() as patch:

        def copied(engine: Any) -> None:
            first = not tables.execute("SELECT 1 FROM sqlite_master").fetchone()
            if first or engine.dialect.name != "sqlite":
                made(engine)
            if engine.dialect.name == "sqlite":
                with closing(engine.raw_connection()) as pooled:
                    there = pooled.driver_connection
                    there.backup(tables) if first else tables.backup(there)

        patch.setattr(utils, "_initialize_tables", copied)
        yield


@pytest.fixture(autouse=True)
def all_numbers_are_there() -> Iterator[None]:
    """Undo what a command does to the process that it computes in: hypothesis draws numbers next to nothing, too."""
    yield
    torch.set_flush_denormal(False)


@pytest.fixture(scope="session")
def challenge1() -> Path:
    """The folder of the challenge's real cutouts, `space` and `ground`; they may not be redistributed."""
    folder = ROOT.parent / "shared" / "challenge1"
    if not folder.is_dir():
        pytest.skip(f"the challenge's real cutouts are not at {folder}")
    return folder


@pytest.fixture(scope="session")
def real() -> Path:
    """The folder of other surveys' cutouts and catalogues; they may not be redistributed."""
    folder = ROOT.parent / "shared" / "real"
    if not folder.is_dir():
        pytest.skip(f"other surveys' cutouts and catalogues are not at {folder}")
    return folder


@pytest.fixture(scope="session")
def small_space(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 200 simulated Space objects, bright enough to be learnt from; not to be written to."""
    return _simulated(tmp_path_factory, "small_space", SPACE, 200)


@pytest.fixture(scope="session")
def tiny_space(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 40 simulated Space objects, for what has to work and need not learn; not to be written to."""
    return _simulated(tmp_path_factory, "tiny_space", SPACE, 40)


@pytest.fixture(scope="session")
def small_ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 40 simulated Ground objects; not to be written to."""
    return _simulated(tmp_path_factory, "small_ground", GROUND, 40)


def shared(factory: pytest.TempPathFactory) -> Path:
    """A folder of all processes that test in one run."""
    own = factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


def _simulated(factory: pytest.TempPathFactory, name: str, imaging: ImagingSet, count: int) -> Path:
    """Made by the process that needs it first; what is there is not made again."""
    folder = shared(factory) / name / "set"
    with FileLock(shared(factory) / f"{name}.lock"):
        for _ in simulate(folder, imaging, count, seed=3, difficulty=-2.0, workers=1):
            pass
    return folder
