"""Reads a list of files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.data import regular
from orchestrator.data.challenge import ImagingSet
from orchestrator.data.sources.listing import BLOCK, SUFFIX, Listing, identifier, listed
from orchestrator.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

BETWEEN = re.compile(r"\t|(?:(?<=\.fits)|(?<=\.fit)|(?<=\.fts)|(?<=\.gz)|(?<=\.fz)|(?<=\"))\s*[\s,;]\s*", re.IGNORECASE)
"""What stands between paths: a tab; a comma, semicolon or space behind the suffix of a FITS file, or behind a quote."""

PLAIN = re.compile(r"\s*[,;]\s*|\s+")
"""The same in a line without such a suffix or quote."""

LOOKED = 1000
"""Paths that are looked for, until one is there, to learn where all begin."""


def file_list(path: Path, imaging: ImagingSet) -> Listing:
    """List the objects of a text file, one a line; lines that begin with # are left out.

    A line is the path of a file, or, where the set has several bands, a path a band with a tab, comma, semicolon or
    spaces between. A path may stand in double quotes. Relative paths begin at the list's folder, or, where none of the
    first is there, at the working directory.

    Raises:
        DataError: no text, or another number of paths than bands in a line.
    """
    home = beginning(chain.from_iterable(_lines(path, len(imaging.bands))), path.parent)

    def found() -> Iterator[pa.RecordBatch]:
        lines = _lines(path, len(imaging.bands))
        while some := list(islice(lines, BLOCK)):
            yield listed([identifier(each[0], imaging) for each in some], [placed(each, home) for each in some])

    return Listing.of(found())


def beginning(paths: Iterable[str | None], home: Path) -> str:
    """Where relative paths begin, by the first that is there: the list's folder, or, empty, the working directory."""
    for each in islice(filter(None, paths), LOOKED):
        if os.path.isfile(os.path.join(home, each)):  # noqa: PTH113, PTH118 - a Path raises for what is no path
            break
        if os.path.isfile(each):  # noqa: PTH113
            return ""
    return "" if home == Path() else str(home)


def placed(paths: Sequence[str | None], home: str) -> Sequence[str | None]:
    """The paths of an object, where relative ones begin there."""
    return [each and os.path.join(home, each) for each in paths]  # noqa: PTH118 - see `folders`


def _lines(path: Path, bands: int) -> Iterator[list[str]]:
    """The paths of each object."""
    try:
        regular.check(path)
        with path.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(map(str.strip, lines), start=1):
                if not line or line.startswith("#"):
                    continue
                found = [line] if bands == 1 else _split(line)
                if len(found) not in (1, bands):
                    raise DataError(f"{path}:{number}: {len(found)} paths where one or {bands} are expected")
                yield [each.strip(' "') for each in found]
    except UnicodeDecodeError:
        raise DataError(f"{path}: not a text file in UTF-8") from None
    except OSError as error:
        raise DataError(f"{path}: {regular.reason(error)}") from None


def _split(line: str) -> list[str]:
    between = BETWEEN if SUFFIX.search(line) or BETWEEN.search(line) else PLAIN
    return between.split(line)
