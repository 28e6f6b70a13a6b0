"""Reads a catalogue with a column of paths."""

from __future__ import annotations

from pathlib import Path

from orchestrator.data.challenge import ImagingSet
from orchestrator.data.columns import positions
from orchestrator.data.sources.listing import BESIDE, Listing, identifier
from orchestrator.data.sources.lists import placed
from orchestrator.data.tables import Table
from orchestrator.errors import DataError


def catalogue(path: Path, imaging: ImagingSet) -> Listing:
    """List the objects of a table, one a row; see `orchestrator.data.tables`.

    Its columns, in upper or lower case: `path` of the file with all bands, or `path_R`, or `R`, of each band's;
    where they are there, those of `BESIDE`, `ra` and `dec` in degrees unless they have another unit. A row without an
    identifier is named for its file, or else by its number. Relative paths as in `lists.file_list`.

    Raises:
        DataError: no such columns, or identifiers or positions that are none.
    """
    table = Table.open(path)
    bands = [band.name for band in imaging.bands]
    for names in (["path"], [f"path_{band}" for band in bands], bands):
        files = [place for each in names if (place := table.find(each)) is not None]
        if len(files) == len(names):
            break
    else:
        expected = " or ".join(dict.fromkeys(["path", ", ".join(f"path_{band}" for band in bands)]))
        raise DataError(f"{path}: no column {expected} (its columns: {', '.join(table.names) or 'none'})")
    others = {name: place for name, found in BESIDE.items() if (place := table.find(*found)) is not None}
    columns = table.read([*files, *others.values()])
    paths = placed(list(zip(*(each.texts() for each in columns[: len(files)]), strict=True)), path.parent)
    beside = dict(zip(others, columns[len(files) :], strict=True))
    written = beside["id"].ids() if "id" in beside else [None] * len(paths)
    ids = [
        each or identifier(line[0] or "", imaging) or f"row {row}"
        for row, (each, line) in enumerate(zip(written, paths, strict=True), start=1)
    ]
    return Listing.of(ids, paths, positions(beside.get("ra"), beside.get("dec")))
