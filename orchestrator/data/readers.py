"""Reads listed cutouts in processes: in threads Python would read one file at a time, and few cores would be busy."""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.data.challenge import SIZE
from orchestrator.data.processes import pool, unheard
from orchestrator.data.sources.files import Files
from orchestrator.data.sources.listing import Entry, Listing
from orchestrator.data.sources.pieces import Piece, Row
from orchestrator.errors import DataError

AVAILABLE = hasattr(os, "memfd_create") and Path("/proc/self/fd").is_dir()
"""Whether this system has memory without a name, of which nothing is left whoever is killed."""


class Readers:
    """Processes that read for the threads of this one; flux comes in memory that both see.

    Attributes:
        source: as it would be read here; what is read is the same.
        count: of processes.
    """

    def __init__(self, source: Files, count: int, largest: int, threads: int) -> None:
        """Prepare for so many threads that read up to `largest` objects at once; processes start when one reads."""
        self.source, self.count = source, count
        shape = (threads, largest, len(source.imaging.bands), SIZE, SIZE)
        self._file = os.memfd_create("cutouts")
        os.ftruncate(self._file, 4 * math.prod(shape))
        self._room = _mapped(self._file, shape)
        self._free: SimpleQueue[int] = SimpleQueue()
        for place in range(threads):
            self._free.put(place)
        there = f"/proc/{os.getpid()}/fd/{self._file}"
        self._pool = pool(count, _attach, (replace(source, listing=Listing.of([])), there, shape))

    @contextmanager
    def read(self, start: int, stop: int) -> Iterator[Piece]:
        """Read some of the objects; their flux is there until the block ends.

        Raises:
            DataError: a process was killed; there will be no others.
        """
        place = self._free.get()
        try:
            entries = self.source.listing.entries(start, stop)
            with unheard():
                work = self._pool.submit(_read, entries, place)
            rows, good, count = work.result()
            yield Piece(rows, good, self._room[place, :count])
        except BrokenProcessPool:
            raise DataError(
                f"one of {self.count} processes that read was killed; is there memory enough for so many?"
            ) from None
        finally:
            self._free.put(place)

    def close(self) -> None:
        """End the processes."""
        self._pool.shutdown(cancel_futures=True)
        os.close(self._file)


def _mapped(file: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    return np.frombuffer(mmap.mmap(file, 0), np.float32).reshape(shape)


_here: dict[str, Any] = {}
"""What a process that reads has: its source, and the memory."""


def _attach(source: Files, path: str, shape: tuple[int, ...]) -> None:
    file = os.open(path, os.O_RDWR)
    _here.update(source=source, room=_mapped(file, shape))
    os.close(file)


def _read(entries: Sequence[Entry], place: int) -> tuple[list[Row], NDArray[np.bool_], int]:
    piece = _here["source"].read_entries(entries)
    _here["room"][place, : len(piece.flux)] = piece.flux
    return piece.rows, piece.good, len(piece.flux)
