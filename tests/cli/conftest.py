"""Working directories in which a small study has been swept, and a way to call the command line in them."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from tests.cli.calling import Call, invoke
from tests.conftest import shared
from tests.servers import Server

STUDY = """
description = "Two networks, two epoch counts"
data = "{data}"
architectures = ["lens_flow", "lastro_epfl"]
epochs = [1, 2]
[fixed]
batch_size = 32
seed = 1
normalisation = "asinh" # quicker to export
[hyperparameters.lastro_epfl]
hidden = {{ choices = [16] }}
"""


@pytest.fixture
def call() -> Call:
    """`invoke`, in whatever working directory the test is in."""
    return invoke


@pytest.fixture(scope="session")
def swept(tmp_path_factory: pytest.TempPathFactory, small_space: Path) -> Path:
    """A working directory with the stores of the study `tiny`, finished: a copy of one of all processes that test."""
    made, folder = shared(tmp_path_factory) / "swept", tmp_path_factory.mktemp("swept") / "folder"
    with FileLock(made.with_suffix(".lock")):
        if not (made / "output.txt").exists():
            (made / "search_spaces").mkdir(parents=True)
            (made / "search_spaces" / "tiny.toml").write_text(STUDY.format(data=small_space))
            with contextlib.chdir(made):
                result = invoke("sweep", "--study", "tiny")
            (made / "output.txt").write_text(result.output)
    shutil.copytree(made, folder)
    with contextlib.chdir(folder):
        invoke("doctor")  # its files are beside it from now on
    return folder


@pytest.fixture
def inside(swept: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory with the finished study, entered."""
    monkeypatch.chdir(swept)
    return swept


@pytest.fixture
def tracking_server(tmp_path: Path) -> Iterator[Server]:
    """An MLflow server that runs, and keeps what it gets in `server` of the test's folder."""
    home = tmp_path / "server"
    home.mkdir()
    started = Server(home)
    try:
        started.start()
        yield started
    finally:
        started.kill()
