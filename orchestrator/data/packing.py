"""Packs a set into a folder, and maps what is packed into memory.

pixels.f32    (n, bands, size, size) float32
rows.npz      ids, labels, masked, content, and the catalogue's columns
about.json    everything else
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from orchestrator.data.catalogue import read_labels
from orchestrator.data.challenge import SETS, SIZE, CutoutFiles, ImagingSet, Release
from orchestrator.data.cutouts import BadCutout, Cutouts, content_digest
from orchestrator.data.normalise import prepare
from orchestrator.data.processes import spread
from orchestrator.data.quality import read_judged
from orchestrator.errors import TooManyBadCutouts, UnreadableCutout
from orchestrator.json_text import as_json

CHUNK, SHARD = 64, 256
"""Objects normalised at once, and objects a process takes at once."""

PIXELS, ROWS, ABOUT = "pixels.f32", "rows.npz", "about.json"

COLUMN = "column "
"""What the name of a catalogue's column begins with among the arrays."""

Progress = tuple[int, int]
"""Objects done, and objects in all."""


@dataclass(frozen=True)
class _Shard:
    """Some objects of a release, the place of the first of them, and the file to write their pixels to."""

    imaging: ImagingSet
    objects: tuple[CutoutFiles, ...]
    start: int
    normalisation: str
    file: Path


@dataclass(frozen=True)
class _Packed:
    """What is known of a shard's objects beside their pixels; `places` are of those that could be read."""

    places: list[int] = field(default_factory=list)
    masked: list[NDArray[np.int32]] = field(default_factory=list)
    content: list[int] = field(default_factory=list)
    bad: list[BadCutout] = field(default_factory=list)


def pack(
    release: Release, normalisation: str, folder: Path, max_bad: float, workers: int | None = None
) -> Iterator[Progress]:
    """Read, normalise and write all complete objects, in parallel.

    Raises:
        DataError: broken labels.
        TooManyBadCutouts: see `refuse_too_many`.
        OSError: the folder cannot be written.
    """
    catalogue = read_labels(release.root, release.set)
    total, pixels = len(release.objects), folder / PIXELS
    pixels.touch()
    shards = [
        _Shard(release.set, release.objects[start : start + SHARD], start, normalisation, pixels)
        for start in range(0, total, SHARD)
    ]
    packed: list[_Packed] = []
    for shard, result in zip(shards, spread(_pack_shard, shards, workers), strict=True):
        packed.append(result)
        yield shard.start + len(shard.objects), total

    bad = [each for part in packed for each in part.bad]
    refuse_too_many(release.root, bad, total, max_bad)
    places = [place for part in packed for place in part.places]
    _close_gaps(pixels, places, _bytes_each(len(release.set.bands)))
    ids = np.array([release.objects[place].id for place in places], dtype=np.int64)
    labels = np.array([catalogue.labels.get(int(each), -1) for each in ids], dtype=np.int8)
    content = np.array([digest for part in packed for digest in part.content], dtype=np.uint64)
    masked = np.concatenate([chunk for part in packed for chunk in part.masked])
    columns = {f"{COLUMN}{name}": catalogue.column(name, ids) for name in catalogue.columns}
    np.savez(folder / ROWS, ids=ids, labels=labels, masked=masked, content=content, **columns)  # type: ignore[arg-type]
    present = {each.id for each in release.objects} | release.incomplete.keys()
    about = {
        "set": release.set.name,
        "root": str(release.root.resolve()),
        "normalisation": normalisation,
        "digest": hashlib.sha256(ids.tobytes() + content.tobytes() + labels.tobytes()).hexdigest()[:16],
        "bad": [[each.id, each.reason] for each in bad],
        "unlabelled": [int(each) for each in ids[labels < 0]],
        "missing": sorted(catalogue.labels.keys() - present),
        "incomplete": sorted(release.incomplete),
    }
    (folder / ABOUT).write_text(as_json(about, indent=1))


def unpack(folder: Path) -> Cutouts | None:
    """Map a packed set into memory; None where there is none, or a damaged one."""
    try:
        about = json.loads((folder / ABOUT).read_text())
        imaging = SETS[about["set"]]
        with (folder / ROWS).open("rb") as file, np.load(file, allow_pickle=False) as rows:
            arrays = {name: rows[name] for name in rows.files}
        count = len(arrays["ids"])
        if (folder / PIXELS).stat().st_size != count * _bytes_each(len(imaging.bands)):
            return None
        shape = (count, len(imaging.bands), SIZE, SIZE)
        return Cutouts(
            set=imaging,
            root=Path(about["root"]),
            normalisation=about["normalisation"],
            ids=arrays["ids"],
            pixels=np.memmap(folder / PIXELS, np.float32, "r", shape=shape),
            labels=arrays["labels"],
            masked=arrays["masked"],
            content=arrays["content"],
            digest=about["digest"],
            bad=tuple(BadCutout(identifier, reason) for identifier, reason in about["bad"]),
            unlabelled=tuple(about["unlabelled"]),
            missing=tuple(about["missing"]),
            incomplete=tuple(about["incomplete"]),
            columns={name.removeprefix(COLUMN): arrays[name] for name in arrays if name.startswith(COLUMN)},
        )
    except Exception:  # damage shows in many kinds, zipfile's and numpy's among them
        return None


def refuse_too_many(root: Path, bad: list[BadCutout] | tuple[BadCutout, ...], total: int, max_bad: float) -> None:
    """Raise TooManyBadCutouts, with some of the reasons, if more than that share of all is bad, or all are."""
    if len(bad) == total or len(bad) > max_bad * total:
        limit = "which leaves none" if len(bad) == total else f"more than --max-bad {max_bad:g} allows"
        some = "; ".join(each.reason for each in bad[:3]) + ("; …" if len(bad) > 3 else "")
        raise TooManyBadCutouts(f"{root}: {len(bad)} of {total} objects cannot be read, {limit}: {some}")


def _pack_shard(shard: _Shard) -> _Packed:
    packed = _Packed()
    with shard.file.open("r+b") as file:
        for first in range(0, len(shard.objects), CHUNK):
            raw: list[NDArray[np.float32]] = []
            begin = len(packed.places)
            for place, each in enumerate(shard.objects[first : first + CHUNK], shard.start + first):
                try:
                    cutout, _ = read_judged(each, shard.imaging)
                except UnreadableCutout as error:
                    packed.bad.append(BadCutout(each.id, str(error)))
                else:
                    raw.append(cutout)
                    packed.places.append(place)
                    packed.content.append(content_digest(cutout))
            if not raw:
                continue
            pixels, masked = prepare(np.stack(raw), shard.normalisation)
            packed.masked.append(masked)
            for place, image in zip(packed.places[begin:], pixels, strict=True):
                file.seek(place * image.nbytes)
                file.write(image)
    return packed


def _close_gaps(path: Path, places: list[int], size: int) -> None:
    """Move up what lies behind an object that could not be read."""
    with path.open("r+b") as file:
        for row, place in enumerate(places):
            if row < place:
                file.seek(place * size)
                image = file.read(size)
                file.seek(row * size)
                file.write(image)
        file.truncate(len(places) * size)


def _bytes_each(bands: int) -> int:
    return 4 * bands * SIZE * SIZE
