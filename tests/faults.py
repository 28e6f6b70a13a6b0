"""Faults injected in this process: the n-th thing that a command writes fails, or ends the process.

What a command writes is a commit of either store that changes something, or an operation on the file system: opening
a file to write, renaming, removing, copying, making a folder. Each is known by its place, the lines of the project and
of the library that led to it, so that one fault a place stands for all that are alike.
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

Mode = Literal["fails", "stopped", "killed"]
"""An error that may not come again; Ctrl-C; the end of the process, after which it writes nothing more."""

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
CHANGES = ("INSERT", "UPDATE", "DELETE", "REPLACE", "CREATE", "DROP", "ALTER")
OPERATIONS = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "shutil.copyfile", "shutil.move")


class Killed(BaseException):
    """The process is no more: whatever it tries to write after this raises this again."""


Place = tuple[str, ...]
"""What is written, and the lines of the project that led to it, the innermost last."""


@dataclass
class Watch:
    """What was written while it was watched, and where a fault is to come."""

    at: int | None = None
    mode: Mode = "fails"
    places: list[Place] = field(default_factory=list)
    dead: bool = False

    def written(self, kind: str) -> None:
        """Note that something is about to be written, or keep it from being so."""
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
            case "fails" if kind == "commit":
                raise OperationalError("COMMIT", {}, sqlite3.OperationalError("database is locked"))
            case "fails":
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
            _watching.written("open")
    elif name in OPERATIONS:
        _watching.written(name)


def _executed(connection: Connection, cursor: Any, statement: str, *_: Any) -> None:
    if _watching is not None and statement.lstrip().upper().startswith(CHANGES):
        connection.info["changed"] = True


def _committed(connection: Connection) -> None:
    if _watching is not None and connection.info.pop("changed", False):
        _watching.written("commit")


def _lines() -> Iterator[str]:
    for each in traceback.extract_stack()[:-3]:
        path = Path(each.filename)
        if path.is_relative_to(ROOT / "orchestrator"):
            yield f"{path.relative_to(ROOT / 'orchestrator')}:{each.lineno}"
