"""Reads what may end the process that reads it, tile-compressed images, in a process beside this one."""

from __future__ import annotations

import signal
import threading
from collections.abc import Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

from orchestrator.data.fits import Frame, Unit, read_frames
from orchestrator.errors import UnreadableCutout

PATIENCE = 60.0
"""Seconds that one file may take."""


class Isolated:
    """Reads files in a process of its own, which is started when it is first needed and again when a file ends it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._end: Connection | None = None

    def __reduce__(self) -> tuple[type[Isolated], tuple[()]]:
        """Each process has one of its own."""
        return Isolated, ()

    def read_frames(self, path: Path, units: Sequence[Unit], any_size: bool, planes: Sequence[str] = ()) -> list[Frame]:
        """Like `fits.read_frames`, of tile-compressed images too.

        Raises:
            UnreadableCutout: as there; and the file ended the process, or took longer than `PATIENCE`.
        """
        with self._lock:
            if self._end is None:
                self._start()
            assert self._end is not None
            try:
                self._end.send((path, units, any_size, planes))
                if not self._end.poll(PATIENCE):
                    raise TimeoutError
                answer: list[Frame] | UnreadableCutout = self._end.recv()
            except (OSError, EOFError) as error:
                self._stop()
                how = f"takes longer than {PATIENCE:.0f} s" if isinstance(error, TimeoutError) else "ended it"
                raise UnreadableCutout(f"{path}: a process that decompressed it: {how}") from None
        if isinstance(answer, UnreadableCutout):
            raise answer
        return answer

    def _start(self) -> None:
        context = get_context("spawn")
        self._end, other = context.Pipe()
        # Deaf to Ctrl-C, which reaches the whole group, from its first moment on.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._process = context.Process(target=_serve, args=(other,), daemon=True)
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        other.close()

    def _stop(self) -> None:
        if self._end is not None:
            self._end.close()
            self._end = None
            self._process.kill()
            self._process.join()


def _serve(end: Connection) -> None:
    while True:
        try:
            path, units, any_size, planes = end.recv()
        except EOFError:  # the other process has ended
            return
        try:
            end.send(read_frames(path, units, any_size=any_size, tiles=True, planes=planes))
        except UnreadableCutout as error:
            end.send(error)
