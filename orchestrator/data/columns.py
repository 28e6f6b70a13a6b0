"""Turns a column of any table into what it is wanted for: identifiers, texts, labels, numbers or angles."""

from __future__ import annotations

import contextlib
import functools
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

LABELS = {"is_lens": {0: 0, 1: 1}, "no_source": {0: 1, 1: 0}}
"""Label column → its values → 1 for a lens."""

IDS = ("id", "ids", "object_id", "source_id", "objid", "objectid", "coadd_object_id", "targetid")
"""Columns of identifiers; of several that are there the first counts."""

FILES = (
    *("file", "filename", "file_name", "filepath", "file_path", "fits", "fits_file", "fits_path"),
    *("image", "image_file", "image_path", "cutout", "cutout_file", "cutout_path"),
)
"""Columns of files beside `path`, each also with ``_`` and a band behind it."""

POSITIONS = (
    ("ra", "dec"),  # SDSS, DES, HSC, Gaia, the Legacy Surveys
    ("ra_deg", "dec_deg"),
    ("radeg", "decdeg"),
    ("radeg", "dedeg"),
    ("ra_j2000", "dec_j2000"),
    ("raj2000", "dej2000"),  # VizieR
    ("raj2000", "decj2000"),  # KiDS
    ("_raj2000", "_dej2000"),  # what VizieR computes
    ("_ra", "_de"),
    ("_ra.icrs", "_de.icrs"),
    ("_ra_icrs", "_de_icrs"),
    ("ra_icrs", "de_icrs"),
    ("ra_icrs", "dec_icrs"),
    ("alpha_j2000", "delta_j2000"),  # SExtractor
    ("alphawin_j2000", "deltawin_j2000"),
    ("alphapeak_j2000", "deltapeak_j2000"),
    ("right_ascension", "declination"),  # Euclid
    ("ira", "idec"),  # HSC
    ("ramean", "decmean"),  # Pan-STARRS
    ("rastack", "decstack"),
    ("target_ra", "target_dec"),  # DESI
    ("s_ra", "s_dec"),  # ObsCore
    ("coord_ra", "coord_dec"),  # Rubin
)
"""Columns of right ascension and declination, ICRS or J2000; the first pair counts, whatever else there is."""

UNCLEAR = ("coord_ra", "coord_dec")
"""Columns of angles that are in radians in some files of their survey and in degrees in others."""

APART = 1 / 3600
"""Degrees that two pairs of columns in one row may be apart and still say the same."""

SYSTEMS = ("icrs", "j2000", "j2000.0", "fk5")
"""What stands behind a name, where a unit might, and is none."""

WORDS = {"0": 0, "1": 1, "false": 0, "true": 1, "f": 0, "t": 1}
"""What may stand for 0 and 1 in a column of labels, in lower case. -1 is not among them: to some it is a non-lens, and
to others an unknown one."""

UNKNOWN = {"-", "--", "nan", "null", "none", "na", "n/a", "#n/a", "\\n"}
"""What stands for an unknown number, in lower case, beside an empty cell."""

UNITS = {
    **dict.fromkeys(("deg", "degree", "degrees", "dms", "d:m:s", "d m s"), 1.0),
    **dict.fromkeys(("rad", "radian", "radians"), float(np.degrees(1))),
    **dict.fromkeys(("h", "hr", "hour", "hours", "hourangle", "hms", "h:m:s", "h m s"), 15.0),
}
"""Unit of an angle, in lower case → degrees; what astropy knows beside these will do too."""

BLANK = "".join(each for each in map(chr, range(0x3001)) if each.isspace()) + "\0"
"""What is taken off the ends of a text: space of any kind, and what fills up texts of a fixed width."""

HEADING = re.compile(r"(?P<name>.*?)\s*[\[(](?P<unit>[^\[\]()]*)[\])]")
"""A column's name with its unit behind it, as in ``RA [deg]``."""

Found = TypeVar("Found")

POINTED = re.compile(r"[+-]?[0-9]+(?:\.0*|(?:\.[0-9]+)?[eE]\+?[0-9]{1,3})")
"""How a whole number is written by a program that holds it as a floating-point number: 1001.0, 1.24e+18."""


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        path: of the file.
        name: of the column.
        values: texts without space around them, whole numbers, floating-point numbers or booleans; null where there is
            nothing.
        unit: of numbers, in lower case; empty where none is told.
        lines: the line of each row, where the file is text.
        first: the row of the table that it begins with, from 0 on, where it is a piece of a longer one.
    """

    path: Path
    name: str
    values: pa.Array
    unit: str = ""
    lines: Sequence[int] | None = None
    first: int = 0

    def place(self, row: int) -> str:
        """Where a row stands, for what is told."""
        return f"{self.path}:{self.lines[row]}" if self.lines else f"{self.path}: row {self.first + row + 1}"

    def texts(self) -> list[str | None]:
        """As they are written; None where nothing is."""
        import pyarrow as pa

        found: list[str | None] = self.values.cast(pa.large_string()).to_pylist()
        return found

    def ids(self) -> list[str | None]:
        """Identifiers as text, None where there is none. Whole numbers held as floating-point ones lose their .0.

        Raises:
            DataError: such numbers, too large to tell neighbours apart.
        """
        whole = self.whole_numbers()
        return self.names() if whole is None else whole

    def names(self) -> list[str | None]:
        """Identifiers as they are written, floating-point numbers with their .0."""
        if not self._float():
            return self.texts()
        return [None if np.isnan(each) else str(each) for each in self.values.to_numpy(zero_copy_only=False)]

    def whole_numbers(self) -> list[str | None] | None:
        """Identifiers without the .0 of whole numbers held as floating-point ones; None where not all are such.

        Raises:
            DataError: see `ids`.
        """
        texts = self.names()
        written = {each for each in texts if each is not None}
        if not all(map(POINTED.fullmatch, written)):
            return None
        exact = 2 ** (np.finfo(self._float() or np.float64).nmant + 1)
        numbers_of = {each: float(each) for each in written}
        if rounded := [each for each, number in numbers_of.items() if abs(number) >= exact]:
            raise DataError(
                f"{self.path}: column {self.name} holds floating-point numbers too large to be exact, such as"
                f" {min(rounded)} (allowed: whole numbers, text)"
            )
        whole = {each: int(number) for each, number in numbers_of.items() if number.is_integer()}
        if len(set(whole.values())) < len(written):  # names such as 1.0 and 1.00, or 15e-1, and no whole numbers
            return None
        return [None if each is None else str(whole[each]) for each in texts]

    def labels(self, ids: Sequence[str | None]) -> NDArray[np.int8]:
        """(n,) 1 a lens, 0 none, -1 unknown.

        Args:
            ids: of the rows, for what is told.

        Raises:
            DataError: a value that is no label.
        """
        texts = self.texts()
        values = LABELS.get(bare(self.name)[0], {0: 0, 1: 1})
        meaning: dict[str | None, int] = {None: -1, **{word: values[number] for word, number in WORDS.items()}}
        found = np.empty(len(texts), np.int8)
        for row, text in enumerate(texts):
            plain = text and re.sub(r"\.0*$", "", text).lower()
            if plain not in meaning:
                told = f"{self.name} '{text}' of object {ids[row]} (allowed: {', '.join(WORDS)})"
                raise DataError(f"{self.place(row)}: {told}")
            found[row] = meaning[plain]
        return found

    def numbers(self, ids: Sequence[str | None]) -> NDArray[np.float64]:
        """(n,) float64, NaN where unknown.

        Args:
            ids: of the rows, for what is told.

        Raises:
            DataError: a text that is no number.
        """
        found, words = self._parsed()
        for row in words:
            told = f"{self.name} '{self.values[row]}' of object {ids[row]} is not a number"
            raise DataError(f"{self.place(row)}: {told}")
        return found

    def numbers_among_words(self) -> NDArray[np.float64]:
        """(n,) float64, NaN where a text is no number."""
        return self._parsed()[0]

    def degrees(self, *, hours: bool) -> NDArray[np.float64]:
        """(n,) angles in degrees, NaN where unknown.

        Numbers are in degrees and text such as 10:00:24.0 is as `hours` says, unless the column has a unit.

        Args:
            hours: whether such text is in hours, as right ascensions are.

        Raises:
            DataError: a unit of no angle, or a text that is none.
        """
        from astropy.coordinates import Angle

        factor = self._degrees_each()
        found, words = self._parsed()
        found = np.where(np.isfinite(found), found * factor, np.nan)
        in_hours = factor == UNITS["hour"] if self.unit else hours
        parse = functools.partial(Angle, unit="hourangle" if in_hours else "deg")
        texts = [str(self.values[row]) for row in words]
        with warnings.catch_warnings(action="ignore"):
            try:
                found[words] = parse(texts).deg if words else []
            except Exception:  # its parser answers what is no angle with many kinds
                row, text = next(each for each in zip(words, texts, strict=True) if not _accepts(parse, each[1]))
                raise DataError(f"{self.place(row)}: {self.name} '{text}' is no angle") from None
        return found

    def _degrees_each(self) -> float:
        from astropy.units import Unit

        if not self.unit or self.unit in UNITS:
            return UNITS.get(self.unit, 1.0)
        try:
            return float(Unit(self.unit).to("deg"))
        except (ValueError, TypeError):
            told = f"column {self.name} is in '{self.unit}', which is no angle (allowed: {', '.join(UNITS)})"
            raise DataError(f"{self.path}: {told}") from None

    def _float(self) -> Any:
        """What numpy calls the kind of floating-point numbers that these are; None of others."""
        from pyarrow import types

        return self.values.type.to_pandas_dtype() if types.is_floating(self.values.type) else None

    def _parsed(self) -> tuple[NDArray[np.float64], list[int]]:
        """All numbers, NaN where there is none, and the rows of texts that are none."""
        import pyarrow as pa

        try:
            return self.values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False).copy(), []
        except pa.ArrowInvalid:  # among them is text that is no number
            pass
        found, words = np.full(len(self.values), np.nan), []
        for row, text in enumerate(self.values.to_pylist()):
            if text is None or text.lower() in UNKNOWN:
                continue
            try:
                found[row] = float(text if "_" not in text else "words")  # Python reads 1_000 as a thousand
            except ValueError:
                words.append(row)
        return found, words


def column(
    path: Path, name: str, values: Any, unit: str = "", lines: Sequence[int] | None = None, first: int = 0
) -> Column:
    """Make a column of values as numpy, astropy, h5py or pyarrow have them.

    Raises:
        DataError: it holds something else than a text, a number or a truth value a row.
    """
    import pyarrow as pa

    try:
        found = _plain(_arrow(values))
    except (TypeError, ValueError, pa.ArrowException):
        told = f"{path}: column {name} holds something else than a text, a number or a truth value a row"
        raise DataError(told) from None
    return Column(path, name, found, (unit or bare(name)[1]).strip(' "').lower(), lines, first)


def named(pieces: Iterable[Column]) -> Callable[[Column], list[str | None]]:
    """How the identifiers in each piece of a column are read, so that they are those of `Column.ids` of the whole.

    Names that are the same number in two forms, such as 1.0 and 1.00, are told apart within a piece alone.
    """
    return Column.ids if all(each.whole_numbers() is not None for each in pieces) else Column.names


def positions(ra: Column, dec: Column) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Right ascensions, from 0 to 360, and declinations in degrees.

    Both are NaN where one is unknown, or is no place on the sky, such as -999.
    """
    found = np.stack([ra.degrees(hours=True), dec.degrees(hours=False)])
    found[:, ~((np.abs(found[0]) <= 360) & (np.abs(found[1]) <= 90))] = np.nan
    return found[0] % 360, found[1]


def pairs(find: Callable[[str], Found | None]) -> list[tuple[Found, Found]]:
    """What is found of `POSITIONS` by its names; the first pair of them alone, where it is there."""
    found = []
    for ra, dec in POSITIONS:
        one, other = find(ra), find(dec)
        if one is not None and other is not None:
            found.append((one, other))
            if (ra, dec) == POSITIONS[0]:
                break
    return found


def agreed(found: Sequence[Sequence[Column]]) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """The positions that columns of `POSITIONS` say, see `positions`; None without any.

    Raises:
        DataError: two pairs say something else of a row, or it is not known in what unit one is.
    """
    from astropy.coordinates import angular_separation

    chosen = None
    for pair in found:
        for each in pair:
            if bare(each.name)[0].rpartition("/")[2] in UNCLEAR and not each.unit:
                told = "has no unit, and is in radians in some files of the survey and in degrees in others: call it"
                raise DataError(f"{each.path}: column {each.name} {told} '{each.name} [rad]' or [deg]")
        read = positions(*pair)
        if chosen is None:
            chosen = read
            continue
        apart = np.degrees(angular_separation(*np.radians([*chosen, *read])))
        if len(rows := np.flatnonzero(apart > APART)):
            names = " and ".join(f"{ra.name}, {dec.name}" for ra, dec in (found[0], pair))
            told = f"columns {names} say two positions; call those that count ra and dec"
            raise DataError(f"{pair[0].place(int(rows[0]))}: {told}")
    return chosen


def bare(name: str) -> tuple[str, str]:
    """The name of a column as names are compared, and the unit that may stand behind it.

    It is in lower case, without space or # around it, and with _ for the space within it.
    """
    name = name.strip().lstrip("#").strip().lower()
    found = HEADING.fullmatch(name)
    plain, unit = (found["name"], found["unit"]) if found else (name, "")
    return re.sub(r"\s+", "_", plain), "" if unit in SYSTEMS else unit


def canonical(ids: Sequence[str]) -> list[str]:
    """Identifiers by which two files are matched: numbers without zeros before them, but where that would merge two."""
    short = {each: each.lstrip("0") or "0" if each.isascii() and each.isdecimal() else each for each in ids}
    names: dict[str, list[str]] = {}
    for each, plain in short.items():
        names.setdefault(plain, []).append(each)
    return [short[each] if len(names[short[each]]) == 1 else each for each in ids]


def _accepts(parse: Callable[[str], object], text: str) -> bool:
    try:
        parse(text)
    except Exception:  # see `Column.degrees`
        return False
    return True


def _arrow(values: Any) -> pa.Array:
    import pyarrow as pa

    if isinstance(values, pa.ChunkedArray):
        return values.combine_chunks()
    if isinstance(values, list):
        return pa.array(values, pa.large_string())
    data, mask = np.ma.getdata(values), np.ma.getmaskarray(values)
    if data.ndim != 1 or data.dtype.kind not in "biufSUO":
        raise TypeError
    if data.dtype.kind in "iuf":  # in this machine's order of bytes, and no longer than pyarrow has them
        data = data.astype(f"{data.dtype.kind}{min(data.dtype.itemsize, 8)}")
    return pa.array(data, mask=mask)


def _plain(values: pa.Array) -> pa.Array:
    """The same as texts without space around them, whole numbers, floating-point numbers or booleans."""
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import types

    if types.is_dictionary(values.type):
        values = values.dictionary_decode()
    kind = values.type
    if types.is_float16(kind):
        values = values.cast(pa.float32())
    if types.is_floating(values.type):
        return pc.if_else(pc.is_nan(values), None, values)
    if types.is_integer(kind) or types.is_boolean(kind):
        return values
    if types.is_nested(kind):
        raise TypeError
    if types.is_fixed_size_binary(kind):
        values = values.cast(pa.binary())
    if types.is_decimal(kind):
        with contextlib.suppress(pa.ArrowInvalid):  # not all are whole numbers
            values = values.cast(pa.decimal256(76, 0))
    try:
        texts = values.cast(pa.large_string())
        texts.validate(full=True)
    except pa.ArrowInvalid:  # bytes that are no UTF-8, which some programs write as text too
        raw = values.cast(pa.large_binary()).to_pylist()
        texts = pa.array([each and each.decode("latin-1") for each in raw], pa.large_string())
    texts = pc.utf8_trim(texts, BLANK)
    return pc.if_else(pc.equal(texts, ""), None, texts)
