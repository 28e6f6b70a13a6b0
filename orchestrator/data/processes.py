"""Spreads work over processes that end with the one that started them."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from threading import Thread
from typing import TypeVar

from orchestrator.errors import DataError

Job = TypeVar("Job")
Result = TypeVar("Result")


def spread(function: Callable[[Job], Result], jobs: Sequence[Job], workers: int | None = None) -> Iterator[Result]:
    """Yield the result of each job, in the order of the jobs.

    Args:
        function: of a module, so that other processes find it.
        jobs: what it is called with.
        workers: processes, by default as many as there are cores; with one, or one job, all is done here.

    Raises:
        DataError: a process was killed; and whatever `function` raises.
    """
    workers = min(workers or os.cpu_count() or 1, len(jobs))
    if workers <= 1:
        yield from map(function, jobs)
        return
    # Fresh processes: a fork would copy whatever threads the caller has running.
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _follow_parent)
    try:
        yield from _submit(pool, function, jobs)
    except BrokenProcessPool:
        raise DataError(f"one of {workers} processes was killed; is there memory enough for so many?") from None
    finally:
        pool.shutdown(cancel_futures=True)


def _submit(pool: ProcessPoolExecutor, function: Callable[[Job], Result], jobs: Sequence[Job]) -> Iterator[Result]:
    """Start the processes deaf to Ctrl-C, which reaches the whole group: this process answers for all."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return pool.map(function, jobs)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _follow_parent() -> None:
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)  # the parent was killed, and no one else would end this process
