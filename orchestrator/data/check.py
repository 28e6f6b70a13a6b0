"""Reads every cutout of a set and says what is wrong or odd, by name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations
from math import nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.data.catalogue import Catalogue
from orchestrator.data.challenge import SIZE, CutoutFiles, ImagingSet, Release
from orchestrator.data.cutouts import content_digest
from orchestrator.data.normalise import MAD_TO_SIGMA, unmeasured
from orchestrator.data.processes import spread
from orchestrator.data.quality import read_judged
from orchestrator.errors import UnreadableCutout

SHARD = 256
"""Objects a process takes at once."""

ENOUGH, UNLIKE, ALIKE = 20, 0.4, 0.15
"""Objects that tell the usual noise of each band, and how far in ln σ two bands are that look exchanged: from their own
at least, from that of the other at most. In the challenge's sets a band's noise is stable to 3 %."""


@dataclass(frozen=True)
class Checked:
    """What one object's files hold.

    Attributes:
        id: of the object.
        unreadable: why it cannot be read, or None.
        oddities: what reads well and cannot be right, such as two bands with the same pixels.
        masked: pixels without a measurement, per band.
        noise: standard deviation per band, in the files' units, by the median absolute deviation; NaN if constant.
        content: digest of all pixels; equal for equal objects.
        turned: digest of the pixels of each band without their places; equal also for objects turned or mirrored.
    """

    id: int
    unreadable: str | None = None
    oddities: tuple[str, ...] = ()
    masked: tuple[int, ...] = ()
    noise: tuple[float, ...] = ()
    content: int = 0
    turned: int = 0


@dataclass(frozen=True)
class Shared:
    """An object that stands in another set too: its identifier here and there, and how alike they are."""

    id: int
    other: int
    how: str


@dataclass(frozen=True)
class Overlap:
    """What two sets have in common, by pixels."""

    folder: str
    objects: int
    shared: tuple[Shared, ...]


@dataclass(frozen=True)
class Report:
    """All findings on one set; the lists hold identifiers, or identifier and reason.

    Attributes:
        noise: band → percentiles 5, 50 and 95 of its standard deviation, in the files' units; NaN of no objects.
        duplicates: identifiers of objects with the same pixels, turned or mirrored or not.
        contradictions: objects whose label is another than that of a duplicate.
        overlap: with another set, where one was given.
    """

    objects: int
    lenses: int
    others: int
    unreadable: tuple[tuple[int, str], ...]
    suspect: tuple[tuple[int, str], ...]
    unlabelled: tuple[int, ...]
    missing: tuple[int, ...]
    incomplete: tuple[tuple[int, str], ...]
    masked_objects: int
    masked_pixels: dict[str, int]
    noise: dict[str, tuple[float, float, float]]
    duplicates: tuple[tuple[int, ...], ...]
    contradictions: tuple[tuple[int, str], ...]
    overlap: Overlap | None

    @property
    def clean(self) -> bool:
        """Whether nothing was found that a person should look at."""
        found = self.unreadable or self.suspect or self.unlabelled or self.missing or self.incomplete
        return not (found or self.contradictions or (self.overlap and self.overlap.shared))

    def document(self, folder: str, imaging: ImagingSet) -> dict[str, Any]:
        """All of it for a machine: strict JSON, whose keys stay as they are; null is unknown."""

        def reasons(found: tuple[tuple[int, str], ...]) -> list[dict[str, Any]]:
            return [{"id": identifier, "reason": reason} for identifier, reason in found]

        pixels = SIZE * SIZE * (self.objects - len(self.unreadable))
        bands = [
            {
                "name": band.name,
                "masked_pixels": self.masked_pixels[band.name],
                "masked_share": self.masked_pixels[band.name] / pixels if pixels else None,
                "noise": dict(zip(("p5", "median", "p95"), map(_finite, self.noise[band.name]), strict=True)),
            }
            for band in imaging.bands
        ]
        overlap = self.overlap and {
            "folder": self.overlap.folder,
            "objects": self.overlap.objects,
            "shared": [{"id": each.id, "other": each.other, "how": each.how} for each in self.overlap.shared],
        }
        return {
            "folder": folder,
            "set": imaging.name,
            "objects": self.objects,
            "lenses": self.lenses,
            "others": self.others,
            "bands": bands,
            "masked_objects": self.masked_objects,
            "unreadable": reasons(self.unreadable),
            "suspect": reasons(self.suspect),
            "incomplete": reasons(self.incomplete),
            "unlabelled": list(self.unlabelled),
            "missing": list(self.missing),
            "duplicates": [list(ids) for ids in self.duplicates],
            "contradictions": reasons(self.contradictions),
            "overlap": overlap,
            "clean": self.clean,
        }


def check(release: Release, workers: int | None = None) -> Iterator[Checked]:
    """Read and judge all complete objects, in order, on all cores or so many processes."""
    objects = release.objects
    shards = [(release.set, objects[start : start + SHARD]) for start in range(0, len(objects), SHARD)]
    for checked in spread(_check_shard, shards, workers):
        yield from checked


def report(
    release: Release,
    catalogue: Catalogue,
    checked: Iterable[Checked],
    against: tuple[Release, Iterable[Checked]] | None = None,
) -> Report:
    """Sum up what was found, also of another set: which objects are in both."""
    found = list(checked)
    bands = [band.name for band in release.set.bands]
    readable = [each for each in found if each.unreadable is None]
    suspect = [(each.id, oddity) for each in readable for oddity in each.oddities]
    duplicates = [group for group in _grouped(readable).values() if len(group) > 1]
    contradictions = []
    for group in duplicates:
        first = group[0]
        suspect += [(each.id, f"holds {_how(first, each)} as {first.id}") for each in group[1:]]
        named = {catalogue.labels[each.id]: each for each in reversed(group) if each.id in catalogue.labels}
        if len(named) == 2:
            told = f"labelled a lens as {named[1].id}, and none as {named[0].id}: {_how(named[0], named[1])}"
            contradictions += [(named[1].id, told)]
    noise = np.array([each.noise for each in readable]).reshape(-1, len(bands))
    suspect += [(readable[row].id, oddity) for row, oddity in _exchanged(noise, bands)]
    present = {each.id for each in release.objects} | release.incomplete.keys()
    labels = [catalogue.labels.get(each.id) for each in found]
    masks = np.array([each.masked for each in readable], dtype=int).reshape(-1, len(bands))
    return Report(
        objects=len(found),
        lenses=labels.count(1),
        others=labels.count(0),
        unreadable=tuple((each.id, each.unreadable) for each in found if each.unreadable is not None),
        suspect=tuple(sorted(suspect)),
        unlabelled=tuple(sorted(present - catalogue.labels.keys())),
        missing=tuple(sorted(catalogue.labels.keys() - present)),
        incomplete=tuple((each, f"no file for {', '.join(bands)}") for each, bands in release.incomplete.items()),
        masked_objects=int(masks.any(axis=1).sum()),
        masked_pixels={name: int(masks[:, n].sum()) for n, name in enumerate(bands)},
        noise={name: _percentiles(noise[:, n]) for n, name in enumerate(bands)},
        duplicates=tuple(tuple(each.id for each in group) for group in duplicates),
        contradictions=tuple(contradictions),
        overlap=against and _overlap(readable, *against),
    )


def _grouped(readable: Iterable[Checked]) -> dict[int, list[Checked]]:
    groups: dict[int, list[Checked]] = defaultdict(list)
    for each in readable:
        groups[each.turned].append(each)
    return groups


def _how(one: Checked, other: Checked) -> str:
    return "the same pixels" if one.content == other.content else "the same pixels, turned or mirrored,"


def _overlap(readable: list[Checked], other: Release, checked: Iterable[Checked]) -> Overlap:
    there = [each for each in checked if each.unreadable is None]
    groups = _grouped(there)
    shared = [
        Shared(each.id, twin.id, _how(each, twin).rstrip(","))
        for each in readable
        for twin in groups.get(each.turned, [])[:1]
    ]
    return Overlap(str(other.root), len(there), tuple(shared))


def _exchanged(noise: NDArray[np.float64], bands: list[str]) -> list[tuple[int, str]]:
    """Objects with two bands that have each the noise of the other, where those of the set differ."""
    if len(noise) < ENOUGH:
        return []
    with np.errstate(divide="ignore", invalid="ignore"):
        size = np.log(noise)
    usual = np.nanmedian(np.where(np.isfinite(size), size, np.nan), axis=0)
    found = []
    for one, other in combinations(range(len(bands)), 2):
        as_they_are = np.abs(size[:, [one, other]] - usual[[one, other]])
        exchanged = np.abs(size[:, [one, other]] - usual[[other, one]])
        rows = np.flatnonzero((as_they_are.min(axis=1) > UNLIKE) & (exchanged.max(axis=1) < ALIKE))
        found += [(int(row), f"bands {bands[one]} and {bands[other]} look exchanged, by their noise") for row in rows]
    return found


def _percentiles(values: NDArray[np.float64]) -> tuple[float, float, float]:
    known = values[np.isfinite(values)]
    low, middle, high = np.percentile(known, (5, 50, 95)) if known.size else (np.nan, np.nan, np.nan)
    return float(low), float(middle), float(high)


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _check_shard(shard: tuple[ImagingSet, tuple[CutoutFiles, ...]]) -> list[Checked]:
    imaging, objects = shard
    return [_check(each, imaging) for each in objects]


def _check(files: CutoutFiles, imaging: ImagingSet) -> Checked:
    try:
        pixels, quality = read_judged(files, imaging)
    except UnreadableCutout as error:
        return Checked(files.id, str(error))
    flat = pixels.reshape(len(pixels), -1)
    measured = [band[~without] for band, without in zip(flat, unmeasured(flat), strict=True)]
    noise = [MAD_TO_SIGMA * float(np.median(np.abs(band - np.median(band)))) or nan for band in measured]
    turned = content_digest(np.sort(flat, axis=1))
    return Checked(files.id, None, quality.notes, quality.masked, tuple(noise), content_digest(pixels), turned)
