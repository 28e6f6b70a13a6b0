"""Reads a list of files."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from orchestrator.data.challenge import ImagingSet
from orchestrator.data.sources.listing import Listing, identifier
from orchestrator.errors import DataError

BETWEEN = re.compile(r"\s*,\s*|\s+")


def file_list(path: Path, imaging: ImagingSet) -> Listing:
    """List the objects of a text file, one a line; lines that begin with # are left out.

    A line is the path of a file, or, where the set has several bands, a path a band with spaces or a comma between.
    Relative paths begin at the list's folder, or, where the first file is not there, at the working directory.

    Raises:
        DataError: no text, or another number of paths than bands in a line.
    """
    bands = len(imaging.bands)
    ids: list[str] = []
    paths: list[list[str]] = []
    try:
        with path.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(map(str.strip, lines), start=1):
                if not line or line.startswith("#"):
                    continue
                found = [line] if bands == 1 else BETWEEN.split(line)
                if len(found) not in (1, bands):
                    raise DataError(f"{path}:{number}: {len(found)} paths where one or {bands} are expected")
                ids.append(identifier(found[0], imaging))
                paths.append(found)
    except UnicodeDecodeError:
        raise DataError(f"{path}: not a text file") from None
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from None
    return Listing.of(ids, placed(paths, path.parent))


def placed(paths: Sequence[Sequence[str | None]], home: Path) -> Sequence[Sequence[str | None]]:
    """Let relative paths begin where the first of all is: at the list's folder, or else at the working directory."""
    first = next((each for line in paths for each in line if each), "")
    if home == Path() or not (home / first).is_file():
        return paths
    return [[each and os.path.join(home, each) for each in line] for line in paths]  # noqa: PTH118 - see `folders`
