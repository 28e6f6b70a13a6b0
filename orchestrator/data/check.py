"""Reads every cutout of a set and says what is wrong or odd, by name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from orchestrator.data.catalogue import Catalogue
from orchestrator.data.challenge import CutoutFiles, ImagingSet, Release
from orchestrator.data.cutouts import content_digest
from orchestrator.data.processes import spread
from orchestrator.data.quality import read_judged
from orchestrator.errors import UnreadableCutout

SHARD = 256
"""Objects a process takes at once."""


@dataclass(frozen=True)
class Checked:
    """What one object's files hold.

    Attributes:
        id: of the object.
        unreadable: why it cannot be read, or None.
        oddities: what reads well and cannot be right, such as two bands with the same pixels.
        masked: pixels without a measurement, per band.
        content: digest of all pixels; equal for equal objects.
    """

    id: int
    unreadable: str | None = None
    oddities: tuple[str, ...] = ()
    masked: tuple[int, ...] = ()
    content: int = 0


@dataclass(frozen=True)
class Report:
    """All findings on one set; the lists hold identifiers, or identifier and reason."""

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

    @property
    def clean(self) -> bool:
        """Whether nothing was found that a person should look at."""
        return not (self.unreadable or self.suspect or self.unlabelled or self.missing or self.incomplete)


def check(release: Release, workers: int | None = None) -> Iterator[Checked]:
    """Read and judge all complete objects, in order, on all cores or so many processes."""
    objects = release.objects
    shards = [(release.set, objects[start : start + SHARD]) for start in range(0, len(objects), SHARD)]
    for checked in spread(_check_shard, shards, workers):
        yield from checked


def report(release: Release, catalogue: Catalogue, checked: Iterable[Checked]) -> Report:
    """Sum up what was found."""
    found = list(checked)
    readable = [each for each in found if each.unreadable is None]
    same: dict[int, list[int]] = defaultdict(list)
    for each in readable:
        same[each.content].append(each.id)
    suspect = [(each.id, oddity) for each in readable for oddity in each.oddities]
    for ids in same.values():
        suspect += [(other, f"holds the same pixels as {ids[0]}") for other in ids[1:]]
    present = {each.id for each in release.objects} | release.incomplete.keys()
    labels = [catalogue.labels.get(each.id) for each in found]
    masks = np.array([each.masked for each in readable], dtype=int).reshape(-1, len(release.set.bands))
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
        masked_pixels={band.name: int(masks[:, n].sum()) for n, band in enumerate(release.set.bands)},
    )


def _check_shard(shard: tuple[ImagingSet, tuple[CutoutFiles, ...]]) -> list[Checked]:
    imaging, objects = shard
    return [_check(each, imaging) for each in objects]


def _check(files: CutoutFiles, imaging: ImagingSet) -> Checked:
    try:
        pixels, quality = read_judged(files, imaging)
    except UnreadableCutout as error:
        return Checked(files.id, str(error))
    return Checked(files.id, None, quality.notes, quality.masked, content_digest(pixels))
