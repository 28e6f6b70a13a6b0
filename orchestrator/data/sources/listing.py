"""Many objects in little memory: where they are, not what they hold."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.data.challenge import ImagingSet
from orchestrator.data.position import Position

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIX = re.compile(r"\.(fits?(\.gz|\.fz)?|fz)$", re.IGNORECASE)
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
        table: columns id, paths, ra and dec, as in `Entry`; about 100 bytes an object and its names.
    """

    table: pa.Table

    @classmethod
    def of(
        cls,
        ids: pa.Array | Sequence[str],
        paths: Sequence[Sequence[str | None]],
        ra: pa.Array | None = None,
        dec: pa.Array | None = None,
    ) -> Listing:
        """Put columns together; positions are in degrees."""
        import pyarrow as pa

        places = [pa.nulls(len(ids), pa.float64()) if each is None else each for each in (ra, dec)]
        files = pa.array(paths, pa.list_(pa.large_string()))
        names = pa.array(ids, pa.large_string()) if isinstance(ids, Sequence) else ids.cast(pa.large_string())
        return cls(pa.table({"id": names, "paths": files, "ra": places[0], "dec": places[1]}))

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def entries(self, start: int, stop: int) -> list[Entry]:
        """Some of the objects."""
        nan = float("nan")
        columns = self.table.slice(start, stop - start).to_pydict()
        return [
            Entry(identifier, tuple(paths), (nan if ra is None else ra, nan if dec is None else dec))
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


def stem(name: str) -> str:
    """A name without the suffix that FITS files have."""
    return SUFFIX.sub("", name)
