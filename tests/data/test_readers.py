"""Processes read what this one would read: odd and bad files too, in order, and say it when one of them is killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator.data import readers, sources
from orchestrator.data.challenge import GROUND, SPACE
from orchestrator.data.readers import Readers
from orchestrator.data.sources.files import Files
from orchestrator.errors import DataError
from tests.torture import corpus

pytestmark = pytest.mark.skipif(not readers.AVAILABLE, reason="only Linux has memory without a name")


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """The corpus of odd and bad files, and one that is not there."""
    folder = tmp_path_factory.mktemp("corpus")
    for number, case in enumerate(corpus.fits_files().values()):
        case.put(folder / f"{number}.fits")
    names = [*(path.name for path in sorted(folder.iterdir())), "none.fits"]
    (folder / "list.txt").write_text("\n".join(names))
    found = sources.find(folder / "list.txt", SPACE, resize=True)
    assert isinstance(found, Files)
    return found


@pytest.fixture(scope="module")
def two(odd: Files) -> Iterator[Readers]:
    with closing(Readers(odd, 2, 16, 3)) as processes:
        yield processes


@pytest.mark.slow
def test_all_that_is_odd_or_bad_is_read_as_it_is_in_one_process(odd: Files, two: Readers) -> None:
    parts = [(start, min(start + 16, len(odd))) for start in range(0, len(odd), 16)]

    def read(part: tuple[int, int]) -> tuple[list[str], bytes, bytes]:
        with two.read(*part) as piece:
            return [repr(row) for row in piece.rows], piece.good.tobytes(), piece.flux.tobytes()

    with ThreadPoolExecutor(3) as pool:  # as many as there are places
        found = list(pool.map(read, parts))
    bad = 0
    for part, (rows, good, flux) in zip(parts, found, strict=True):
        expected = odd.read(*part)
        assert rows == [repr(row) for row in expected.rows]
        assert good == expected.good.tobytes()
        assert flux == expected.flux.tobytes()
        bad += int((~expected.good).sum())
    assert 60 < bad < len(odd) - 20


def test_four_bands_are_read_too(challenge1: Path) -> None:
    ground = sources.find(challenge1 / "ground", GROUND)
    assert isinstance(ground, Files)
    with closing(Readers(ground, 1, 8, 1)) as one, one.read(0, 8) as piece:
        assert piece.flux.shape[1:] == (4, 101, 101)
        assert piece.flux.tobytes() == ground.read(0, 8).flux.tobytes()


def test_a_process_that_is_killed_ends_the_reading_with_a_clear_error(odd: Files) -> None:
    with closing(Readers(odd, 1, 4, 2)) as one:
        with one.read(0, 4) as piece:
            assert len(piece.rows) == 4
        for pid in one._pool._processes:
            os.kill(pid, signal.SIGKILL)
        for _ in range(2):
            told = pytest.raises(DataError, match="one of 1 processes that read was killed; is there memory enough")
            with told, one.read(0, 4):
                pass
