"""A working directory in which a small study has been swept, and a way to call the command line in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from orchestrator.cli import main

Call = Callable[..., Result]

NO_STORE_OF_THE_USER = dict.fromkeys(("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID"))
"""What the person who runs the tests has set would send their records there."""

STUDY = """
description = "Two networks, two epoch counts"
data = "{data}"
architectures = ["lens_flow", "lastro_epfl"]
epochs = [1, 2]
[fixed]
batch_size = 32
seed = 1
[hyperparameters.lastro_epfl]
hidden = {{ choices = [16] }}
"""


@pytest.fixture
def call() -> Call:
    """Call the command line; by default it has to succeed."""

    def run(*arguments: str, expect: int = 0) -> Result:
        result = CliRunner(env=NO_STORE_OF_THE_USER).invoke(main, list(arguments))
        assert result.exit_code == expect, result.output + repr(result.exception)
        return result

    return run


@pytest.fixture(scope="session")
def swept(tmp_path_factory: pytest.TempPathFactory, small_space: Path) -> Path:
    """A working directory with the stores of the study `tiny`, finished."""
    folder = tmp_path_factory.mktemp("swept")
    (folder / "search_spaces").mkdir()
    (folder / "search_spaces" / "tiny.toml").write_text(STUDY.format(data=small_space))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        result = CliRunner(env=NO_STORE_OF_THE_USER).invoke(main, ["sweep", "--study", "tiny"])
    assert result.exit_code == 0, result.output + repr(result.exception)
    (folder / "output.txt").write_text(result.output)
    return folder


@pytest.fixture
def inside(swept: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory with the finished study, entered."""
    monkeypatch.chdir(swept)
    return swept
