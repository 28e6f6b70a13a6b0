"""Faults injected in this process: the n-th thing that a command writes or reads fails, or ends the process.

What a command writes is a commit of either store that changes something, or an operation on the file system: opening
a file to write, renaming, removing, copying, making a folder. What it reads is a query of either store. Each is known
by its place, the lines of the project that led to it, so that one fault a place stands for all that are alike.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import OperationalError

from tests.conftest import ROOT

Mode = Literal["fails", "stopped", "killed", "unread"]
"""An error that may not come again; Ctrl-C; the end of the process, after which it writes nothing more; an error where
something is read."""

COMMIT, READ = "commit", "query"
"""What the kind of a place begins with that changes a store, and that of one where something is read."""

OURS = f"{ROOT / 'orchestrator'}{os.sep}"
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
CHANGES = ("INSERT", "UPDATE", "DELETE", "REPLACE", "CREATE", "DROP", "ALTER")
OPERATIONS = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "shutil.copyfile", "shutil.move")


class Killed(BaseException):
    """The process is no more: whatever it tries to write after this raises this again."""


Place = tuple[str, ...]
"""What is written or read, and the lines of the project that led to it, the innermost first."""


@dataclass
class Watch:
    """What was written and read while it was watched, and where a fault is to come."""

    at: int | None = None
    mode: Mode = "fails"
    places: list[Place] = field(default_factory=list)
    dead: bool = False

    def used(self, kind: str) -> None:
        """Note that something is about to be written or read, or keep it from being so."""
        if self.dead:
            raise Killed
        self.places.append((kind, *_lines()))
        if len(self.places) - 1 != self.at:
            return
        match self.mode:
            case "killed":
                self.dead = True
                raise Killed
            case "stopped":
                raise KeyboardInterrupt
            case _ if kind.startswith((READ, COMMIT)):
                raise OperationalError(kind, {}, sqlite3.OperationalError("database is locked"))
            case _:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


_watching: Watch | None = None


@contextmanager
def watching(at: int | None = None, mode: Mode = "fails") -> Iterator[Watch]:
    """Watch what is written in this process, and let the thing at that place of the order fail."""
    global _watching
    _hook()
    _watching = watch = Watch(at, mode)
    try:
        yield watch
    finally:
        _watching = None


def each_place(places: list[Place]) -> list[int]:
    """Where in the order each place is written to for the first time, and where for the last."""
    first = {place: number for number, place in reversed(list(enumerate(places)))}
    last = {place: number for number, place in enumerate(places)}
    return sorted({*first.values(), *last.values()})


def _hook() -> None:
    """Listen from now on; nothing happens while nobody watches. Audit hooks stay for good, so there is one."""
    if getattr(sys, "_watched_by_tests", False):
        return
    sys._watched_by_tests = True  # type: ignore[attr-defined]
    sys.addaudithook(_audited)
    event.listen(Engine, "before_cursor_execute", _executed)
    event.listen(Engine, "commit", _committed)


def _audited(name: str, arguments: tuple[Any, ...]) -> None:
    if _watching is None:
        return
    if name == "open":
        path, _, flags = arguments
        if (
            isinstance(path, str | bytes)
            and isinstance(flags, int)
            and flags & WRITING
            and os.fspath(path) != os.devnull
        ):
            _watching.used("open")
    elif name in OPERATIONS:
        _watching.used(name)


def _executed(connection: Connection, cursor: Any, statement: str, *_: Any) -> None:
    if _watching is None:
        return
    if statement.lstrip().upper().startswith(CHANGES):
        connection.info["changed"] = True
    elif statement.lstrip().upper().startswith("SELECT"):
        _watching.used(READ)


def _committed(connection: Connection) -> None:
    if _watching is not None and connection.info.pop("changed", False):
        _watching.used(f"{COMMIT} of {Path(connection.engine.url.database or '').name}")


def _lines() -> Iterator[str]:
    for frame, line in traceback.walk_stack(None):
        if frame.f_code.co_filename.startswith(OURS):
            yield f"{frame.f_code.co_filename.removeprefix(OURS)}:{line}"
