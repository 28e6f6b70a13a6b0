"""The cutouts of one set, read, normalised and ready for a network."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from orchestrator.data.challenge import ImagingSet


@dataclass(frozen=True)
class BadCutout:
    """An object that could not be read, and why."""

    id: int
    reason: str


@dataclass(frozen=True)
class Cutouts:
    """One set in memory, or mapped into it.

    Attributes:
        set: which of the two.
        root: the folder they came from.
        normalisation: the name of what was done to the pixels.
        ids: (n,) int64, ascending.
        pixels: (n, bands, size, size) float32, normalised.
        labels: (n,) int8: 1 a lens, 0 none, -1 unknown.
        masked: (n, bands) int32: pixels without a measurement, set to no flux before normalising.
        content: (n,) uint64: `content_digest` of each object.
        digest: of identifiers, contents and labels: the same data elsewhere has the same.
        bad: what could not be read; it is in none of the arrays.
        unlabelled: identifiers with files but no label; their rows are there.
        missing: identifiers with a label but no files.
        incomplete: identifiers of which some bands have no file.
        columns: further numbers of the catalogue, (n,) float64 each, NaN where unknown.
    """

    set: ImagingSet
    root: Path
    normalisation: str
    ids: NDArray[np.int64]
    pixels: NDArray[np.float32]
    labels: NDArray[np.int8]
    masked: NDArray[np.int32]
    content: NDArray[np.uint64]
    digest: str
    bad: tuple[BadCutout, ...] = ()
    unlabelled: tuple[int, ...] = ()
    missing: tuple[int, ...] = ()
    incomplete: tuple[int, ...] = ()
    columns: dict[str, NDArray[np.float64]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    def objects(self, rows: NDArray[np.int64]) -> Objects:
        """Which objects these rows are."""
        return Objects(self.ids[rows], self.content[rows])


class Objects(NamedTuple):
    """Which objects: identifiers (n,) int64, and content (n,) uint64, the digests of their files' pixels."""

    ids: NDArray[np.int64]
    content: NDArray[np.uint64]


def names_digest(ids: Iterable[int | str], labels: NDArray[np.int8]) -> str:
    """Sixteen hexadecimal digits, equal for the same identifiers with the same labels, in any order."""
    return _digest(f"{each} {label}" for each, label in zip(ids, labels.tolist(), strict=True))


def objects_digest(names: str, objects: Objects) -> str:
    """Of the same objects with the same labels and the same pixels equal, in any order and however normalised.

    Args:
        names: their `names_digest`.
        objects: which they are.
    """
    lines = (f"{each} {content:016x}" for each, content in zip(objects.ids, objects.content.tolist(), strict=True))
    return f"pixels:{_digest([names, *lines])}"


def _digest(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()[:16]


def content_digest(raw: NDArray[np.float32]) -> int:
    """A 64-bit digest of one object's pixels (bands, size, size) as its files hold them."""
    # Of hashlib's, SHA-1 is the fastest both with and without the processor's help.
    return int.from_bytes(hashlib.sha1(raw.data, usedforsecurity=False).digest()[:8], "little")
