"""Opens tables of any kind, which their content tells.

CSV and its relatives   comma, tab, semicolon, | or spaces between cells; lines that begin with # are left out, but the
                        one above the first row may be the header; below it units and a line of dashes, as VizieR has
ECSV, VOTable, FITS     with their units; nothing where a value is masked or stands for none
Parquet                 of pyarrow, pandas or astropy, or a folder of such files

All but Parquet may be compressed with gzip. Only the columns that are asked for are kept; text and
Parquet can be read in pieces.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import warnings
import zlib
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import TextIO

from orchestrator.data import regular
from orchestrator.data.columns import Column, bare, column
from orchestrator.data.fits import read_table
from orchestrator.errors import DataError, one_of

TEXT, PARQUET, FITS, VOTABLE, ECSV, HDF5 = "text", "Parquet", "FITS", "VOTable", "ECSV", "HDF5"
"""What a file can be; text is all that is none of the others."""

BEGINNINGS = {
    PARQUET: re.compile(rb"PAR1"),
    FITS: re.compile(rb"SIMPLE  ="),
    HDF5: re.compile(rb"\x89HDF\r\n\x1a\n"),
    VOTABLE: re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:\?xml|!--|!DOCTYPE|(?:\w+:)?VOTABLE)", re.IGNORECASE),
    ECSV: re.compile(rb"# %ECSV "),
}

BINARY = {
    **dict.fromkeys((".parquet", ".pq"), PARQUET),
    **dict.fromkeys((".fits", ".fit"), FITS),
    **dict.fromkeys((".vot", ".votable", ".xml"), VOTABLE),
}
"""Suffixes of what is no text."""

GZIP = b"\x1f\x8b"

UNPACKED = 1 << 30
"""Bytes that an ECSV, a VOTable or a FITS table may hold: a small file can unpack to a thousandfold."""

LONGEST = 1 << 22
"""Characters of a line of text."""

DELIMITERS = ",\t;| "
"""What may stand between cells; of those that give the same number of columns the first."""

ELSEWHERE = re.compile(
    rb"<(?:[\w.-]+:)?STREAM\b(?!(?:\s+(?:encoding|type|actuate|expires|rights)\s*=\s*(?:\"[^\"<>]*\"|'[^'<>]*'))*\s*/?>)"
    rb"|<!(?:ATTLIST|ENTITY)"
)
"""By what a VOTable would make astropy fetch its data from another file or server."""


Read = Callable[[Sequence[int], int | None], Iterator[list[Column]]]
"""Reads the columns at some places, from 0 on, in pieces of so many rows, or all in one; at least one piece."""

Columns = tuple[tuple[str, ...], Read]
"""The names of a table's columns, and how some are read."""


@dataclass(frozen=True)
class Table:
    """A table: its file, the names of its columns, and how some of them are read.

    Attributes:
        path: of the file.
        names: of the columns.
        pieces: see `Read`. What is decided by a whole column, such as `Column.ids`, is not to be asked of its pieces.
    """

    path: Path
    names: tuple[str, ...]
    pieces: Read

    def read(self, places: Sequence[int]) -> list[Column]:
        """The whole columns at some places."""
        return next(self.pieces(places, None))

    @classmethod
    def open(cls, path: Path) -> Table:
        """Find out what a file is, and the names of its columns.

        Raises:
            DataError: it cannot be read, or holds no table.
        """
        if path.is_dir():
            return cls(path, *_folder(path))
        kind = kind_of(path)
        if kind == TEXT and (wanted := BINARY.get(Path(path.name.lower().removesuffix(".gz")).suffix)):
            raise DataError(f"{path}: not a {wanted} file, as its name says")
        if kind == HDF5:
            raise DataError(f"{path}: an HDF5 file (allowed: CSV, {ECSV}, {FITS}, {VOTABLE}, {PARQUET})")
        return cls(path, *{TEXT: _text, PARQUET: _parquet}.get(kind, _astropy)(path))

    def find(self, *names: str) -> int | None:
        """The place of the first of these columns that there is, or None; see `find`."""
        return find(self.path, self.names, *names)

    def place(self, *names: str) -> int:
        """The place of the first of these columns that there is; see `find`.

        Raises:
            DataError: there is none of them.
        """
        found = self.find(*names)
        if found is None:
            raise DataError(f"{self.path}: {one_of('column', names[0], self.names)}")
        return found


def find(path: Path, columns: Sequence[str], *names: str) -> int | None:
    """The place of the first of these names that a column has, or None.

    A name that is the same letter by letter comes first; then those that are the same to `columns.bare`.

    Raises:
        DataError: two columns go by the name.
    """
    for name in names:
        same = [place for place, each in enumerate(columns) if each == name]
        same = same or [place for place, each in enumerate(columns) if bare(each)[0] == bare(name)[0]]
        if len(same) > 1:
            told = ", ".join(f"'{columns[place]}'" for place in same)
            raise DataError(f"{path}: {len(same)} columns go by the name {name}: {told}")
        if same:
            return same[0]
    return None


def kind_of(path: Path) -> str:
    """What a file is by its content, under gzip too.

    Raises:
        DataError: it cannot be read.
    """
    try:
        regular.check(path)
        with _unpacked(path) as file:
            beginning = file.read(64)
    except (OSError, EOFError, zlib.error) as error:
        raise _unreadable(path, error) from None
    return next((kind for kind, pattern in BEGINNINGS.items() if pattern.match(beginning)), TEXT)


def _unpacked(path: Path) -> gzip.GzipFile | io.BufferedReader:
    with path.open("rb") as file:
        packed = file.read(len(GZIP)) == GZIP
    return gzip.open(path) if packed else path.open("rb")


def _unreadable(path: Path, error: Exception, kind: str = "table") -> DataError:
    told = (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0]
    return DataError(f"{path}: not a readable {kind} ({told})")


def _text(path: Path) -> Columns:
    with _rows(path) as rows:
        names, told = (next(rows, (0, []))[1] for _ in range(2))
        units = told or [""] * len(names)

    def read(places: Sequence[int], size: int | None) -> Iterator[list[Column]]:
        with _rows(path) as rows:
            list(islice(rows, 2))
            first = 0
            while True:
                lines = array("q")
                cells: list[list[str]] = [[] for _ in places]
                for line, row in islice(rows, size):
                    if len(row) != len(names):
                        raise DataError(f"{path}:{line}: {len(row)} values where the header names {len(names)}")
                    lines.append(line)
                    for values, place in zip(cells, places, strict=True):
                        values.append(row[place])
                if first and not lines:
                    return
                of_each = zip(cells, places, strict=True)
                yield [column(path, names[place], values, units[place], lines, first) for values, place in of_each]
                if len(lines) != size:
                    return
                first += len(lines)

    return tuple(names), read


@contextmanager
def _rows(path: Path) -> Iterator[Iterator[tuple[int, list[str]]]]:
    """The header, the units, if there are any, and the rows of a text, with the line that each ends in."""
    try:
        with _unpacked(path) as file:
            marked = file.read(2) in (b"\xff\xfe", b"\xfe\xff")
        with _unpacked(path) as file:
            lines = _Lines(io.TextIOWrapper(file, "utf-16" if marked else "utf-8-sig", newline=""))
            yield _parsed(lines, path)
    except UnicodeError as error:
        raise DataError(f"{path}: not a text file in UTF-8 ({error})") from None
    except csv.Error as error:
        raise DataError(f"{path}:{lines.number}: {error}") from None
    except (OSError, EOFError, zlib.error) as error:
        raise _unreadable(path, error) from None


class _Lines:
    """Lines of a text; where a row begins, those that are empty or begin with #, or with Excel's sep=, are left out."""

    def __init__(self, file: TextIO) -> None:
        self.file, self.number, self.within, self.comment = file, 0, False, ""

    def __iter__(self) -> Iterator[str]:
        while line := self.file.readline(LONGEST):
            self.number += 1
            if len(line) == LONGEST:
                raise csv.Error(f"a line of more than {LONGEST:,} characters")
            if "\0" in line:
                raise csv.Error("a character NUL: not a text file in UTF-8")
            plain = line.strip()
            if self.within or (plain and not plain.startswith(("#", "sep="))):
                self.within = True
                yield line
            else:
                self.comment = plain


def _parsed(lines: _Lines, path: Path) -> Iterator[tuple[int, list[str]]]:
    remaining = iter(lines)
    first = next(remaining, None)
    if first is None:
        return
    every: Iterator[str] = chain([first], remaining)
    delimiter = max(DELIMITERS, key=lambda each: (_cells(first, each) > 1 and each != " ", _cells(first, each)))
    if delimiter == " ":
        every = (line.rstrip() + "\n" for line in every)
    comment = lines.comment
    # strict, so that a quote without its end is an error and does not swallow the rest of the file
    rows = _numbered(csv.reader(every, delimiter=delimiter, skipinitialspace=True, strict=True), lines)
    line, header = next(rows)
    header = [each.strip() for each in header]
    if above := _header_above(comment, header, delimiter):
        yield from ((line, above), (line, []), (line, header))
    else:
        two = list(islice(rows, 2))
        rule = next((place for place, (_, row) in enumerate(two) if _is_rule(row, header)), None)
        units = two[0][1] if rule == 1 and len(two[0][1]) == len(header) else []
        yield from ((line, header), (line, units), *(two if rule is None else two[rule + 1 :]))
    yield from rows


def _numbered(rows: Iterator[list[str]], lines: _Lines) -> Iterator[tuple[int, list[str]]]:
    for row in rows:
        yield lines.number, row
        lines.within = False


def _is_rule(row: Sequence[str], header: Sequence[str]) -> bool:
    """Whether a row is a line under the header."""
    return len(row) == len(header) and all(re.fullmatch("-+", each.strip()) for each in row) and max(map(len, row)) > 2


def _cells(line: str, delimiter: str) -> int:
    return len(next(csv.reader([line.strip(" \r\n")], delimiter=delimiter, skipinitialspace=True)))


def _header_above(comment: str, first: Sequence[str], delimiter: str) -> list[str] | None:
    """The names in a comment above the first row, where that row holds numbers and these are as many."""
    names = [each.strip() for each in comment.lstrip("#").strip().split(delimiter)]
    numbers = any(re.fullmatch(r"[+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?", each) for each in first)
    return names if numbers and len(names) == len(first) > 1 else None


def _parquet(path: Path) -> Columns:
    import pyarrow as pa
    import pyarrow.parquet

    def read(places: Sequence[int], size: int | None) -> Iterator[list[Column]]:
        wanted = [names[place] for place in places]
        if any(pa.types.is_decimal(schema.field(name).type) for name in wanted):
            size = None  # whether they are whole numbers is told by all of them
        first = 0
        try:
            # Not read_table, which takes a folder named key=value for a column; a buffer keeps all that was read.
            with pyarrow.parquet.ParquetFile(path, pre_buffer=False) as file:
                tables = (
                    file.iter_batches(size, columns=wanted)
                    if size and file.metadata.num_rows > size
                    else [file.read(wanted)]
                )
                for table in tables:
                    yield [column(path, name, table[name], first=first) for name in wanted]
                    first += table.num_rows
        except (pa.ArrowException, OSError, ValueError) as error:
            raise _unreadable(path, error, "Parquet file") from None

    try:
        schema = pyarrow.parquet.read_schema(path)
        names = tuple(schema.names)
    except (pa.ArrowException, OSError, ValueError) as error:  # the last of names that are no UTF-8
        raise _unreadable(path, error, "Parquet file") from None
    if b"table_meta_yaml" in (schema.metadata or {}):  # astropy's own, with units there, and masks in further columns
        return _astropy(path)
    return names, read


def _folder(path: Path) -> Columns:
    """Parquet files with the same columns, one after the other in the order of their names."""
    import pyarrow as pa

    tables = [Table.open(each) for each in sorted(path.glob("*.parquet"))]
    if not tables:
        raise DataError(f"{path}: a folder without a Parquet file in it")
    names = tables[0].names
    if other := next((each for each in tables if each.names != names), None):
        raise DataError(f"{other.path}: has other columns than {tables[0].path} beside it")

    def read(places: Sequence[int], size: int | None) -> Iterator[list[Column]]:
        pieces = (piece for each in tables for piece in each.pieces(places, size))
        if size is not None:
            yield from pieces
            return
        try:
            whole = [
                (each[0], pa.concat_arrays([piece.values for piece in each])) for each in zip(*pieces, strict=True)
            ]
        except pa.ArrowInvalid:
            raise DataError(
                f"{path}: files in which a column holds text and numbers, or two kinds of numbers"
            ) from None
        yield [replace(first, path=path, values=values) for first, values in whole]

    return names, read


def _astropy(path: Path) -> Columns:
    from astropy.table import Table as Found

    kind = kind_of(path)
    try:
        with _unpacked(path) as file:
            content = file.read(UNPACKED + 1)
        if len(content) > UNPACKED:
            raise ValueError(f"unpacks to more than {UNPACKED >> 20} MB")
        if kind == VOTABLE and ELSEWHERE.search(content):
            raise ValueError("its data are to be fetched from elsewhere")
        with warnings.catch_warnings(action="ignore"):
            if kind == FITS:
                table = read_table(content, str(path))
            elif kind == ECSV:
                table = Found.read(content.decode(), format="ascii.ecsv")
            elif kind == PARQUET:
                table = Found.read(io.BytesIO(content), format="parquet")
            else:
                table = Found.read(io.BytesIO(content), format="votable", table_id=0, use_names_over_ids=True)
    except DataError:
        raise
    except Exception as error:  # astropy answers bad files with many kinds
        raise _unreadable(path, error, kind) from None

    def read(places: Sequence[int], _: int | None) -> Iterator[list[Column]]:
        found = [table.columns[place] for place in places]
        yield [column(path, each.name, getattr(each, "value", each), str(each.unit or "")) for each in found]

    return tuple(table.colnames), read
