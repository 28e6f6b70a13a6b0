"""Writes files whole or not at all, in folders that several machines may share."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.errors import OF_THE_DISK, DataError, Unreachable

PARTIAL = ".partial"


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give a path to write to, which takes the place of `path` once all is on the disk, and is gone after an error.

    Its name carries process and host: two that write the same file never write into each other's.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}@{platform.node()}{PARTIAL}")
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())  # else a machine that goes down may leave the name without the content
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def output(path: Path) -> Iterator[Path]:
    """The same of a file that a user names, in a folder that need not be there yet.

    What a link leads to is replaced, and not the link; what is no regular file, such as /dev/stdout, is written to.

    Raises:
        DataError: it cannot be written.
        Unreachable: its disk is full or fails.
    """
    try:
        if path.exists() and not path.is_file():
            yield path
            return
        path = Path(os.path.realpath(path))
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as partial:
            yield partial
    except OSError as error:
        raise unwritten(str(path), error) from None


def unwritten(what: str, error: OSError) -> DataError | Unreachable:
    """What to raise of something that cannot be written: a full disk may have room later."""
    kind = Unreachable if error.errno in OF_THE_DISK else DataError
    return kind(f"{what}: {error.strerror or error}")


def write(path: Path, content: str | bytes) -> None:
    """Write all of such a file; text is in UTF-8."""
    with output(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


def writer(partial: Path) -> dict[str, str]:
    """Host and process that a partial file is of, as far as its name says it."""
    of, at, host = partial.name.removesuffix(PARTIAL).rpartition("@")
    return {"host": host, "pid": of.rpartition(".")[2]} if at else {}
