"""Many objects in little memory: where they are, not what they hold."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, pairwise
from typing import IO, TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from orchestrator.data.challenge import ImagingSet
from orchestrator.data.position import Position
from orchestrator.data.whole import unwritten

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIX = re.compile(r"\.((fits?|fts)(\.gz|\.fz)?|fz)$", re.IGNORECASE)
"""Of FITS files."""

BLOCK = 65_536
"""Objects that are kept, and read again, together."""

RECENT = 4
"""Blocks that are not read again."""

HELD = 128 << 20
"""Bytes of blocks in memory; further blocks are in a temporary file."""


class Entry(NamedTuple):
    """One object: its name, its files (one a band, None where there is none; or one with all) and its position."""

    id: str
    paths: tuple[str | None, ...]
    position: Position


@dataclass(frozen=True, eq=False)
class Listing:
    """Objects in the order they were found in: compressed, about 40 bytes each, and up to `HELD` in memory.

    Attributes:
        count: of objects.
        sha256: see `digest`.
        blocks: of `BLOCK` objects, or where they begin in the file, and their length.
        file: has no name, so that nothing is left of it when this process is killed.
    """

    count: int
    sha256: str
    blocks: Sequence[bytes | tuple[int, int]]
    file: IO[bytes] | None
    _recent: dict[int, pa.RecordBatch] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, found: Iterable[pa.RecordBatch]) -> Listing:
        """Keep what `listed` made, piece by piece.

        Raises:
            DataError: there is no place for a temporary file.
            Unreachable: its disk is full.
        """
        digest, count, held = hashlib.sha256(), 0, 0
        file: IO[bytes] | None = None
        blocks: list[bytes | tuple[int, int]] = []
        before = None
        for block, after in pairwise(chain(_regrouped(found), [None])):
            assert block is not None
            digest.update(_serialized(before, block, after))
            before = block
            content = _packed(block)
            count += block.num_rows
            if held + len(content) <= HELD:
                held += len(content)
                blocks.append(content)
                continue
            try:
                file = file or tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the listing
                blocks.append((file.tell(), len(content)))
                file.write(content)
                file.flush()
            except OSError as error:
                raise unwritten("the list of objects, in a temporary file", error) from None
        listing = cls(count, digest.hexdigest(), blocks, file)
        if file:
            weakref.finalize(listing, file.close)
        return listing

    def __len__(self) -> int:
        return self.count

    def entries(self, start: int, stop: int) -> list[Entry]:
        """Some of the objects."""
        found = []
        for number in range(start // BLOCK, -(-stop // BLOCK)):
            first = max(start - number * BLOCK, 0)
            columns = self._block(number).slice(first, min(stop - number * BLOCK, BLOCK) - first).to_pydict()
            found += [
                Entry(identifier, tuple(each and os.fsdecode(each) for each in paths), (ra, dec))
                for identifier, paths, ra, dec in zip(*columns.values(), strict=True)
            ]
        return found

    def digest(self) -> str:
        """Of all names and positions, in their order; SHA-256 in hexadecimal digits."""
        return self.sha256

    def _block(self, number: int) -> pa.RecordBatch:
        import pyarrow as pa

        if (block := self._recent.get(number)) is None:
            content = self.blocks[number]
            if not isinstance(content, bytes):
                assert self.file is not None
                content = os.pread(self.file.fileno(), content[1], content[0])  # threads have no place in it in common
            block = self._recent[number] = pa.ipc.open_stream(content).read_next_batch()
            for other in list(self._recent)[:-RECENT]:
                self._recent.pop(other, None)
        return block


def listed(
    ids: Sequence[str],
    paths: Sequence[Sequence[str | None]],
    positions: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None,
) -> pa.RecordBatch:
    """Put columns together, see `Entry`; positions are right ascensions and declinations in degrees."""
    import pyarrow as pa

    # Paths as the bytes that the file system knows, of which not all are text.
    kind = pa.list_(pa.large_binary())
    try:
        names = pa.array(ids, pa.large_string())
        files = pa.array(paths, pa.list_(pa.large_string())).cast(kind)
    except UnicodeEncodeError:
        names = pa.array(map(shown, ids), pa.large_string())
        files = pa.array(([each and os.fsencode(each) for each in line] for line in paths), kind)
    ra, dec = positions or (np.full(len(ids), np.nan),) * 2
    return pa.record_batch({"id": names, "paths": files, "ra": ra, "dec": dec})


def _regrouped(found: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same objects, `BLOCK` of them at once; the last block may be shorter."""
    import pyarrow as pa

    waiting: list[pa.RecordBatch] = []
    for batch in found:
        waiting.append(batch)
        if sum(each.num_rows for each in waiting) >= BLOCK:
            whole = pa.concat_batches(waiting)
            end = whole.num_rows - whole.num_rows % BLOCK
            yield from (whole.slice(start, BLOCK) for start in range(0, end, BLOCK))
            waiting = [whole.slice(end)]
    if any(each.num_rows for each in waiting):
        yield pa.concat_batches(waiting)


def _serialized(before: pa.RecordBatch | None, block: pa.RecordBatch, after: pa.RecordBatch | None) -> pa.Buffer:
    """A block as a slice of one table, which is what the digest is of; its bytes are filled up with those behind it."""
    import pyarrow as pa

    last = before and before.slice(len(before) - 1)
    table = pa.concat_batches([each for each in (last, block, after) if each])
    return table.slice(len(last or ()), len(block)).serialize()


def _packed(block: pa.RecordBatch) -> bytes:
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, block.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_batch(block)
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]


def identifier(name: str, imaging: ImagingSet) -> str:
    """What an object is called by the name of its file: without the suffix, and without the challenge's prefix."""
    name = stem(name).rpartition("/")[2]
    prefix = next((f"{band.prefix}-" for band in imaging.bands if name.startswith(f"{band.prefix}-")), "")
    return name.removeprefix(prefix)


def shown(name: str) -> str:
    r"""A name as text that can be written; its bytes that are no UTF-8, and NUL, as ``\xe9``."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace").replace("\0", r"\x00")


def stem(name: str) -> str:
    """A name without the suffix that FITS files have."""
    return SUFFIX.sub("", name)
