"""Spreads work over processes that end with the one that started them."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
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
    processes = pool(workers)
    try:
        with unheard():
            results = processes.map(function, jobs)
        yield from results
    except BrokenProcessPool:
        raise DataError(f"one of {workers} processes was killed; is there memory enough for so many?") from None
    finally:
        processes.shutdown(cancel_futures=True)


def pool(workers: int, prepare: Callable[..., object] = tuple, given: tuple[object, ...] = ()) -> ProcessPoolExecutor:
    """Processes that end with this one; they start, one by one, when they are given work, which `unheard` is for.

    Args:
        workers: how many.
        prepare: called in each when it starts; of a module.
        given: what with.
    """
    # Fresh processes: a fork would copy whatever threads the caller has running.
    return ProcessPoolExecutor(workers, get_context("spawn"), _begin, (prepare, given))


@contextmanager
def unheard() -> Iterator[None]:
    """Start processes deaf to Ctrl-C meanwhile, which reaches the whole group: this process answers for all."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(prepare: Callable[..., object], given: tuple[object, ...]) -> None:
    Thread(target=_end_with_parent, daemon=True).start()
    prepare(*given)


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)  # the parent was killed, and no one else would end this process
