"""What tests share: the real cutouts where they are, and small simulated sets made once a process."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from orchestrator.data.challenge import GROUND, SPACE, ImagingSet
from orchestrator.data.simulation import simulate

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
    return _simulated(tmp_path_factory.mktemp("space") / "set", SPACE, 200)


@pytest.fixture(scope="session")
def tiny_space(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 40 simulated Space objects, for what has to work and need not learn; not to be written to."""
    return _simulated(tmp_path_factory.mktemp("tiny") / "set", SPACE, 40)


@pytest.fixture(scope="session")
def small_ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 40 simulated Ground objects; not to be written to."""
    return _simulated(tmp_path_factory.mktemp("ground") / "set", GROUND, 40)


def _simulated(folder: Path, imaging: ImagingSet, count: int) -> Path:
    for _ in simulate(folder, imaging, count, seed=3, difficulty=-2.0, workers=1):
        pass
    return folder
