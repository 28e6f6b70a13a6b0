"""Reads a catalogue with a column of paths: CSV, Parquet or a FITS table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.data.challenge import ImagingSet
from orchestrator.data.fits import read_table, table_columns
from orchestrator.data.sources.listing import Listing, identifier
from orchestrator.data.sources.lists import placed
from orchestrator.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa


def catalogue(path: Path, imaging: ImagingSet) -> Listing:
    """List the objects of a catalogue, one a row.

    Its columns, in upper or lower case: `path` of the file with all bands, or `path_R`, or `R`, of each band's;
    where they are there, `id`, and `ra` and `dec` in degrees. Relative paths as in `lists.file_list`.

    Raises:
        DataError: no such columns, or positions that are no numbers.
    """
    names = _names(path)
    by_name = {name.lower(): name for name in reversed(names)}
    bands = [band.name.lower() for band in imaging.bands]
    choices = (["path"], [f"path_{band}" for band in bands], bands)
    files = next((each for each in choices if by_name.keys() >= set(each)), None)
    if files is None:
        expected = " or ".join(dict.fromkeys(", ".join(each) for each in (choices[0], choices[1])))
        raise DataError(f"{path}: no column {expected} (its columns: {', '.join(names) or 'none'})")
    optional = [name for name in ("id", "ra", "dec") if name in by_name]
    columns = dict(
        zip([*files, *optional], _columns(path, [by_name[each] for each in [*files, *optional]]), strict=True)
    )
    paths = placed(list(zip(*(_texts(columns[each]) for each in files), strict=True)), path.parent)
    ids = _texts(columns["id"]) if "id" in columns else [identifier(line[0] or "", imaging) for line in paths]
    places = [_degrees(columns.get(name), name, path) for name in ("ra", "dec")]
    return Listing.of([each or "" for each in ids], paths, *places)


def _names(path: Path) -> list[str]:
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    try:
        if path.suffix.lower() == ".fits":
            return table_columns(path)
        if path.suffix.lower() == ".csv":
            with pyarrow.csv.open_csv(path, read_options=_past_comments(path)) as reader:
                return list(reader.schema.names)
        return list(pyarrow.parquet.read_schema(path).names)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from None


def _columns(path: Path, names: Sequence[str]) -> list[pa.ChunkedArray]:
    """Some columns; of a CSV as text, so that identifiers keep their zeros."""
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    try:
        if path.suffix.lower() == ".fits":
            return [pa.chunked_array([pa.array(each)]) for each in read_table(path, names)]
        if path.suffix.lower() == ".csv":
            wanted = pyarrow.csv.ConvertOptions(
                include_columns=list(names), column_types=dict.fromkeys(names, pa.string())
            )
            table = pyarrow.csv.read_csv(path, read_options=_past_comments(path), convert_options=wanted)
        else:
            table = pyarrow.parquet.read_table(path, columns=list(names))
        return [table[name] for name in names]
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from None


def _past_comments(path: Path) -> pa.csv.ReadOptions:
    """Begin behind the lines with # at the top, as the challenge's catalogues have them."""
    import pyarrow.csv

    with path.open("rb") as lines:
        count = next((number for number, line in enumerate(lines) if not line.startswith(b"#")), 0)
    return pyarrow.csv.ReadOptions(skip_rows=count)


def _texts(column: pa.ChunkedArray) -> list[str | None]:
    return [None if each is None or each == "" else str(each).strip() for each in column.to_pylist()]


def _degrees(column: pa.ChunkedArray | None, name: str, path: Path) -> pa.Array | None:
    import pyarrow as pa

    if column is None:
        return None
    try:
        return column.combine_chunks().cast(pa.float64())
    except pa.ArrowException:
        raise DataError(f"{path}: column {name} holds other things than degrees") from None


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError(f"{path}: not a readable catalogue ({(str(error).splitlines() or [''])[0]})")
