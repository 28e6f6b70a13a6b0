"""Writes files whole or not at all, in folders that several machines may share."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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


def writer(partial: Path) -> dict[str, str]:
    """Host and process that a partial file is of, as far as its name says it."""
    of, at, host = partial.name.removesuffix(PARTIAL).rpartition("@")
    return {"host": host, "pid": of.rpartition(".")[2]} if at else {}
