"""Reads a catalogue with a column of paths."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.data.challenge import ImagingSet
from orchestrator.data.columns import FILES, IDS, Column, agreed, named, pairs
from orchestrator.data.sources.listing import BLOCK, Listing, identifier, listed
from orchestrator.data.sources.lists import beginning, placed
from orchestrator.data.tables import Table
from orchestrator.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa


def catalogue(path: Path, imaging: ImagingSet) -> Listing:
    """List the objects of a table, one a row; see `orchestrator.data.tables`.

    Its columns, in upper or lower case: `path` of the file with all bands, or `path_R` of each band's; else `R`, or
    one of `FILES`; where they are there, one of `IDS` and a pair of `POSITIONS`. A row without an identifier is named
    for its file, or else by its number. Relative paths as in `lists.file_list`.

    Raises:
        DataError: no such columns, or several that may be meant; identifiers or positions that are none.
    """
    table = Table.open(path)
    files, of_ids, places = _files(table, [band.name for band in imaging.bands]), table.find(*IDS), pairs(table.find)
    wanted = dict.fromkeys([*files, *([] if of_ids is None else [of_ids]), *(each for pair in places for each in pair)])

    def columns() -> Iterator[dict[int, Column]]:
        for piece in table.pieces(list(wanted), BLOCK):
            yield dict(zip(wanted, piece, strict=True))

    def paths(piece: dict[int, Column]) -> Iterator[tuple[str | None, ...]]:
        return zip(*(piece[each].texts() for each in files), strict=True)

    if of_ids is not None:
        read = named(column for (column,) in table.pieces([of_ids], BLOCK))
    home = beginning(chain.from_iterable(chain.from_iterable(map(paths, columns()))), path.parent)

    def found() -> Iterator[pa.RecordBatch]:
        row = 0
        for piece in columns():
            lines = [placed(each, home) for each in paths(piece)]
            written = [None] * len(lines) if of_ids is None else read(piece[of_ids])
            ids = [
                each or identifier(line[0] or "", imaging) or f"row {number}"
                for number, (each, line) in enumerate(zip(written, lines, strict=True), start=row + 1)
            ]
            yield listed(ids, lines, agreed([(piece[ra], piece[dec]) for ra, dec in places]))
            row += len(lines)

    return Listing.of(found())


def _files(table: Table, bands: Sequence[str]) -> list[int]:
    """The places of the columns of paths: one of all bands, or one a band."""

    def named(*names: str) -> list[list[int]]:
        """One or none."""
        found = [place for each in names if (place := table.find(each)) is not None]
        return [found] if len(found) == len(names) else []

    by_band = [f"path_{band}" for band in bands]
    if sure := named("path") or named(*by_band):
        return sure[0]
    found = [
        *named(*bands),
        *(files for each in FILES for files in (*named(each), *named(*(f"{each}_{band}" for band in bands)))),
    ]
    if not found:
        expected = " or ".join(dict.fromkeys(["path", ", ".join(by_band)]))
        raise DataError(f"{table.path}: no column {expected} (its columns: {', '.join(table.names) or 'none'})")
    if len(found) > 1:
        told = " and ".join(", ".join(table.names[place] for place in files) for files in found[:2])
        raise DataError(f"{table.path}: columns {told} may each be of the files; call the one that is path")
    return found[0]
