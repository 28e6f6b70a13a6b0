"""Many objects in little memory: where they are, not what they hold."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from orchestrator.data.challenge import ImagingSet
from orchestrator.data.position import Position

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIX = re.compile(r"\.((fits?|fts)(\.gz|\.fz)?|fz)$", re.IGNORECASE)
"""Of FITS files."""


class Entry(NamedTuple):
    """One object: its name, its files (one a band, None where there is none; or one with all) and its position."""

    id: str
    paths: tuple[str | None, ...]
    position: Position


@dataclass(frozen=True)
class Listing:
    """Objects in the order they were found in.

    Attributes:
        table: columns id, paths (as bytes), ra and dec, as in `Entry`; about 100 bytes an object and its names.
    """

    table: pa.Table

    @classmethod
    def of(
        cls,
        ids: Sequence[str],
        paths: Sequence[Sequence[str | None]],
        positions: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None,
    ) -> Listing:
        """Put columns together; positions are right ascensions and declinations in degrees."""
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
        return cls(pa.table({"id": names, "paths": files, "ra": ra, "dec": dec}))

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def entries(self, start: int, stop: int) -> list[Entry]:
        """Some of the objects."""
        columns = self.table.slice(start, stop - start).to_pydict()
        return [
            Entry(identifier, tuple(each and os.fsdecode(each) for each in paths), (ra, dec))
            for identifier, paths, ra, dec in zip(*columns.values(), strict=True)
        ]

    def digest(self) -> str:
        """Of all names and positions, in their order; SHA-256 in hexadecimal digits."""
        digest = hashlib.sha256()
        for batch in self.table.combine_chunks().to_batches(max_chunksize=65_536):
            digest.update(batch.serialize())
        return digest.hexdigest()


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
