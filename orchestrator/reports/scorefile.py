"""Writes the scores of very many objects: part by part, and in the end ranked, as a Parquet or CSV file or as a folder.

    OUT.parts/about.json         what is scored, and with what
    OUT.parts/00000000.parquet   the first PART objects, without their rank, and the state that their files were in
    OUT.json                     beside a CSV: what it was made of, which Parquet holds in its metadata
    OUT/scores-00000.parquet     of a folder: the first SHARD parts

A part is written whole or not at all, so that an interrupted run goes on behind the last of them. One part is in memory
at a time, and 12 bytes an object while they are ranked.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from orchestrator.data.whole import whole
from orchestrator.errors import DataError, one_of
from orchestrator.json_text import as_json

if TYPE_CHECKING:
    import pyarrow as pa

PART = 8192
"""Objects of a part, and of a row group of the file."""

SHARD = 128
"""Parts of a file of a folder."""

SUFFIXES = (".parquet", ".pq", ".csv")

ABOUT = "about.json"

STATE = "state of the files"
"""Their sizes and times, among what a part or a whole file is made of."""

FILES = "scores-*.parquet"
"""Of a folder."""

NAMED = 3
"""Bad objects whose reasons are told."""

About = Mapping[str, object]
"""Name and value of all that decides what a file holds."""

Ranks = NDArray[np.uint32]


@dataclass(frozen=True)
class Summary:
    """What a file of scores holds: objects, bad ones, and why the first of these are."""

    objects: int
    bad: int
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Parts:
    """The parts of one file or folder of scores.

    Attributes:
        out: the file or folder.
        about: what decides what it holds.
        objects: how many.
        state: of the files of some rows; see `orchestrator.data.sources.Files.state`.
        many: whether it is a folder, of a Parquet file for each `SHARD` parts.
    """

    out: Path
    about: About
    objects: int
    state: Callable[[int, int], str]
    many: bool = False

    @property
    def folder(self) -> Path:
        """Where they lie until all are there."""
        return self.out.with_name(f"{self.out.name}.parts")

    @contextmanager
    def opened(self, overwrite: bool, resume: bool) -> Iterator[bool]:
        """Make the folder, or go on in it; tells whether anything is left to do.

        Raises:
            DataError: the file is there already, or what was begun is of other data, model or settings.
        """
        self._refuse_kind()
        if self._is_there() and not overwrite:
            if not resume:
                raise DataError(f"{self.out}: is there already; --overwrite replaces it")
            self._refuse_other(self._whole_about(map(self.state_of, self._all())), _about_of(self.out), self.out)
            yield False
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"{self.folder}: {error.strerror or error}") from None
        try:
            with FileLock(self.folder / ".lock", timeout=0):
                self._begin(overwrite)
                yield True
        except Timeout:
            raise DataError(f"{self.out}: another process is scoring into it") from None

    def missing(self) -> list[range]:
        """The rows of each part that is not there yet, was damaged when its machine went down, or is of other files."""
        return [rows for rows in self._all() if not self._is_whole(rows)]

    def state_of(self, rows: range) -> str:
        """The state that the files of some rows are in."""
        return self.state(rows.start, rows.stop)

    def write(self, rows: range, columns: dict[str, Any], state: str) -> None:
        """Write one part.

        Args:
            rows: which objects.
            columns: those of `_schema`, all but `model`.
            state: of their files, before they were read.
        """
        import pyarrow as pa
        import pyarrow.parquet

        model = pa.array([self.about["model"]] * len(rows), pa.string())
        schema = _schema().with_metadata({STATE: state})
        table = pa.table({**columns, "model": model}, schema=schema)
        with whole(self._path(rows)) as partial:
            pyarrow.parquet.write_table(table, partial, write_page_checksum=True)

    def finish(self) -> Summary:
        """Put the parts together, ranked by logit; bad objects have no rank. The order is that of the source."""
        ranks, parts = self._ranks(), self._all()
        reasons: list[str] = []
        ranked, before = self.folder / ("files" if self.many else "whole"), self.folder / "before"
        about = self._whole_about(map(self._written_state, parts))
        if self.many:
            for folder in (ranked, before):
                shutil.rmtree(folder, ignore_errors=True)
            ranked.mkdir()
            for number, start in enumerate(range(0, len(parts), SHARD)):
                path = ranked / FILES.replace("*", f"{number:05d}")
                reasons += self._write_ranked(path, ".parquet", about, parts[start : start + SHARD], ranks)
            if self.out.exists():  # a folder does not take the place of another
                self.out.replace(before)
        else:
            reasons += self._write_ranked(ranked, self.out.suffix.lower(), about, parts, ranks)
        os.replace(ranked, self.out)  # noqa: PTH105 - replace of Path reads as if it were of text
        if not self.many and self.out.suffix.lower() == ".csv":
            with whole(_beside(self.out)) as partial:
                partial.write_text(as_json(about, indent=1))
        shutil.rmtree(self.folder)
        return Summary(self.objects, self.objects - int(ranks.max()), tuple(reasons[:NAMED]))

    def _write_ranked(self, path: Path, suffix: str, about: About, parts: list[range], ranks: Ranks) -> list[str]:
        """Write a file of some parts; returns the first reasons of bad objects in it."""
        import pyarrow as pa

        reasons: list[str] = []
        with whole(path) as partial, _writer(partial, suffix, about) as writer:
            for rows in parts:
                table = self._read(rows)
                own = ranks[rows.start : rows.stop].astype(np.int64)
                rank = pa.array(own, mask=own == 0)
                writer.write_table(table.add_column(table.schema.get_field_index("probability") + 1, "rank", rank))
                if len(reasons) < NAMED:
                    reasons += filter(None, table["reason"].drop_null().to_pylist())
        return reasons[:NAMED]

    def _ranks(self) -> Ranks:
        """Of all objects, from 1 on, equal logits in the order of the source; 0 without one.

        What is sorted, in place, are numbers that begin with the bits of a logit, turned so that the highest is the
        smallest, and end with the place of its object: an `argsort` would take three times the memory.
        """
        if self.objects > 1 << 32:
            raise DataError(f"{self.out}: {self.objects:,} objects (at most {1 << 32:,} are ranked)")
        keys, scored = np.empty(self.objects, np.uint64), 0
        for rows in self._all():
            logits = self._read(rows, ["logit"])["logit"].to_numpy() + np.float32(0)  # -0.0 is 0.0
            bits = logits.view(np.uint32)
            bits = np.where(bits >> 31, bits, bits ^ 0x7FFFFFFF)
            bits[np.isnan(logits)] = 0xFFFFFFFF
            keys[rows.start : rows.stop] = bits.astype(np.uint64) << np.uint64(32) | np.arange(
                rows.start, rows.stop, dtype=np.uint64
            )
            scored += int(np.count_nonzero(~np.isnan(logits)))
        keys.sort()
        ranks = np.zeros(self.objects, np.uint32)
        for start in range(0, scored, PART):
            stop = min(start + PART, scored)
            ranks[keys[start:stop] & np.uint64(0xFFFFFFFF)] = np.arange(start + 1, stop + 1)
        return ranks

    def _begin(self, overwrite: bool) -> None:
        about = self.folder / ABOUT
        if about.is_file():
            try:
                self._refuse_other(self.about, _told(about.read_bytes()), self.folder)
            except DataError:
                if not overwrite:
                    raise
                for part in self.folder.glob("*.parquet"):
                    part.unlink()
        with whole(about) as partial:
            partial.write_text(as_json(self.about, indent=1))

    def _whole_about(self, states: Iterable[str]) -> About:
        """What the whole file is made of: also of files in these states, a part each."""
        return {**self.about, STATE: hashlib.sha256("\n".join(states).encode()).hexdigest()[:16]}

    def _refuse_other(self, about: About, before: About, where: Path) -> None:
        for key, value in about.items():
            if before.get(key) != value:
                raise DataError(
                    f"{where}: was made with another {key} ({before.get(key, 'unknown')}, now {value});"
                    " --overwrite begins anew"
                )

    def _refuse_kind(self) -> None:
        """Refuse what is no file of scores to be, and a folder with other files in it, which would go with them."""
        if not self.many:
            if self.out.suffix.lower() not in SUFFIXES:
                raise DataError(
                    f"{self.out}: {one_of('kind of file', self.out.suffix, (*SUFFIXES, 'NAME/ for a folder'))}"
                )
            if self.out.is_dir():
                raise DataError(f"{self.out}: a folder (one of scores is called {self.out}/)")
        elif not self.out.name:
            raise DataError(f"{self.out}/: no name of a folder")
        elif self.out.exists():
            if not self.out.is_dir():
                raise DataError(f"{self.out}/: {self.out} is a file")
            if others := sorted({*self.out.iterdir()} - {*self.out.glob(FILES)}):
                raise DataError(f"{self.out}: holds something else than scores, {others[0].name}")

    def _is_there(self) -> bool:
        return any(self.out.iterdir()) if self.many and self.out.is_dir() else self.out.exists()

    def _all(self) -> list[range]:
        return [range(start, min(start + PART, self.objects)) for start in range(0, self.objects, PART)]

    def _is_whole(self, rows: range) -> bool:
        import pyarrow as pa
        import pyarrow.parquet

        try:
            whole = pyarrow.parquet.read_metadata(self._path(rows)).num_rows == len(rows)
            return bool(whole and self._written_state(rows) == self.state_of(rows))
        except (pa.ArrowException, OSError):
            return False

    def _written_state(self, rows: range) -> str:
        """The state that the files of a part were in."""
        import pyarrow.parquet

        metadata = pyarrow.parquet.read_schema(self._path(rows)).metadata or {}
        return str(metadata.get(STATE.encode(), b"").decode())

    def _path(self, rows: range) -> Path:
        return self.folder / f"{rows.start:08d}.parquet"

    def _read(self, rows: range, columns: list[str] | None = None) -> pa.Table:
        import pyarrow as pa
        import pyarrow.parquet

        path = self._path(rows)
        try:
            found = pyarrow.parquet.read_table(path, columns=columns, page_checksum_verification=True)
        except (pa.ArrowException, OSError) as error:
            path.unlink(missing_ok=True)
            reason = (str(error).splitlines() or [""])[0]
            raise DataError(f"{path}: was damaged ({reason}); the same command scores its objects again") from None
        return found.replace_schema_metadata()


def best(path: Path, count: int) -> list[dict[str, Any]]:
    """The rows of a whole file or folder with the highest ranks, the best first; `row` is their place, from 0 on."""
    import pyarrow as pa
    import pyarrow.compute

    found, start = [], 0
    for table, rows in _tables(path, count):
        if table is not None:
            places = pa.array(np.arange(start, start + rows))
            chosen = pyarrow.compute.less_equal(table["rank"], count)
            found += table.append_column("row", places).filter(chosen).to_pylist()
        start += rows
    return sorted(found, key=lambda each: int(each["rank"]))


def _tables(path: Path, count: int) -> Iterator[tuple[pa.Table | None, int]]:
    """Rows in their order, and how many; None in the place of those that do not hold a rank up to `count`."""
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    if not path.is_dir() and path.suffix.lower() == ".csv":
        # Types that are told, not guessed from the first rows; and nan stays a number, as in Parquet.
        kinds = pyarrow.csv.ConvertOptions(column_types=_ranked(), null_values=[""])
        lines = pyarrow.csv.ParseOptions(newlines_in_values=True)
        with pyarrow.csv.open_csv(path, parse_options=lines, convert_options=kinds) as reader:
            for batch in reader:
                yield pa.Table.from_batches([batch]), batch.num_rows
        return
    column = _ranked().get_field_index("rank")
    for each in sorted(path.glob(FILES)) if path.is_dir() else [path]:
        with pyarrow.parquet.ParquetFile(each) as file:
            for number in range(file.num_row_groups):
                group = file.metadata.row_group(number)
                ranks = group.column(column).statistics
                near = ranks is None or (ranks.has_min_max and ranks.min <= count)
                yield file.read_row_group(number) if near else None, group.num_rows


def _schema() -> pa.Schema:
    import pyarrow as pa

    texts: Iterable[tuple[str, pa.DataType]] = [(name, pa.string()) for name in ("flags", "reason", "model")]
    return pa.schema(
        [
            ("id", pa.string()),
            ("path", pa.string()),
            ("logit", pa.float32()),
            ("probability", pa.float32()),
            ("ra", pa.float64()),
            ("dec", pa.float64()),
            ("masked", pa.int32()),
            *texts,
        ]
    )


def _ranked() -> pa.Schema:
    """That of the whole file."""
    import pyarrow as pa

    return _schema().insert(_schema().get_field_index("probability") + 1, pa.field("rank", pa.int64()))


def _writer(path: Path, suffix: str, about: About) -> Any:
    import pyarrow.csv
    import pyarrow.parquet

    if suffix == ".csv":
        return pyarrow.csv.CSVWriter(path, _ranked())
    return pyarrow.parquet.ParquetWriter(path, _ranked().with_metadata({"scoring": as_json(about)}))


def _about_of(path: Path) -> About:
    """What a whole file says of itself, or the one beside a CSV says of it."""
    import pyarrow as pa
    import pyarrow.parquet

    try:
        if path.is_dir():
            path = min(path.glob(FILES))
        elif path.suffix.lower() == ".csv":
            return _told(_beside(path).read_bytes())
        return _told((pyarrow.parquet.read_schema(path).metadata or {}).get(b"scoring", b""))
    except (pa.ArrowException, OSError):
        return {}


def _told(text: bytes) -> About:
    """What is on record; nothing where that was damaged."""
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")
