"""Paths that are read have to be regular files: a device or a pipe would be read for ever."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


def check(path: Path) -> None:
    """Look at a path before it is opened.

    Raises:
        OSError: nothing is there, a folder, device, pipe or socket is, or it is no path, such as one with a NUL in it.
    """
    try:
        mode = path.stat().st_mode
    except ValueError as error:
        raise OSError(str(error)) from None
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode):
        raise OSError("a device, pipe or socket, and no file")


def reason(error: OSError) -> str:
    """Why a path cannot be read, without the path."""
    return error.strerror or str(error)
