"""Packs a set into one file, once: read, normalised, and mapped into memory ever after.

    <where>/<key>/pixels.f32      (n, bands, size, size) float32
    <where>/<key>/rows.npz        ids, labels, masked, content, columns
    <where>/<key>/about.json      everything else

The key is a digest of names, sizes and times of all files, of the labels and of the normalisation.
A folder gets its final name when it is whole; before that nothing opens it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from orchestrator.data.catalogue import read_labels
from orchestrator.data.challenge import MASKED, SETS, SIZE, CutoutFiles, Release, scan
from orchestrator.data.cutouts import BadCutout, Cutouts
from orchestrator.data.fits import read_image
from orchestrator.data.normalise import NORMALISATIONS
from orchestrator.errors import DataError, TooManyBadCutouts, UnreadableCutout, one_of

FORMAT = "1"
CHUNK, SHARD = 32, 512
"""Objects normalised at once, and objects a process takes at once."""

Progress = tuple[int, int]
"""Objects done, and objects in all."""


@dataclass(frozen=True)
class _Shard:
    """What one process returns of its objects beside their pixels; `good` are rows, ascending."""

    good: NDArray[np.int64]
    masked: NDArray[np.int32]
    content: NDArray[np.uint64]
    bad: list[BadCutout]


def load(root: Path, normalisation: str, where: Path) -> Cutouts | None:
    """Map a packed set into memory; None where it has not been built as the files are now."""
    folder = where / _key(scan(root), normalisation)
    return _open(folder) if folder.is_dir() else None


def build(
    root: Path, normalisation: str, where: Path, *, max_bad: float = 0.01, workers: int | None = None
) -> Iterator[Progress]:
    """Pack a set where `load` finds it. A second process that builds the same waits for the first.

    Args:
        root: a folder in the challenge's layout.
        normalisation: a name of `NORMALISATIONS`.
        where: the folder of all packed sets.
        max_bad: the share of the objects that may be unreadable; they are left out and named.
        workers: processes, by default as many as there are cores.

    Raises:
        DataError: no set there, or broken labels.
        TooManyBadCutouts: more than that share.
    """
    if normalisation not in NORMALISATIONS:
        raise DataError(one_of("normalisation", normalisation, tuple(NORMALISATIONS)))
    release = scan(root)
    key = _key(release, normalisation)
    where.mkdir(parents=True, exist_ok=True)
    with FileLock(where / f"{key}.lock"):
        if (where / key).is_dir():
            yield len(release.objects), len(release.objects)
            return
        partial = where / f"{key}.partial"
        shutil.rmtree(partial, ignore_errors=True)  # of a build that was killed
        partial.mkdir()
        try:
            yield from _pack(release, normalisation, partial, max_bad, workers or os.cpu_count() or 1)
            partial.rename(where / key)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _key(release: Release, normalisation: str) -> str:
    digest = hashlib.sha256(f"{FORMAT} {normalisation} {release.root.resolve()}".encode())
    for each in release.objects:
        for path in each.paths:
            stat = path.stat()
            digest.update(f"{each.id} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    digest.update(repr(sorted(release.incomplete.items())).encode())
    for path in read_labels(release.root, release.set).files:
        digest.update(path.read_bytes())
    return f"{release.set.name}-{normalisation}-{digest.hexdigest()[:16]}"


def _pack(release: Release, normalisation: str, folder: Path, max_bad: float, workers: int) -> Iterator[Progress]:
    catalogue = read_labels(release.root, release.set)
    total, bands = len(release.objects), len(release.set.bands)
    _map(folder, (total, bands), "w+")
    starts = range(0, total, SHARD)
    shards: dict[int, _Shard] = {}
    done = 0
    for start, shard in _each_shard(release, normalisation, folder, starts, workers):
        shards[start] = shard
        done += min(SHARD, total - start)
        yield done, total

    parts = [shards[start] for start in starts]
    bad = [each for part in parts for each in part.bad]
    if len(bad) > max_bad * total:
        first = "; ".join(each.reason for each in bad[:3])
        raise TooManyBadCutouts(
            f"{release.root}: {len(bad)} of {total} objects cannot be read, more than --max-bad {max_bad:g}: {first}"
        )
    good = np.concatenate([part.good for part in parts])
    _close_gaps(folder, good, (total, bands))
    ids = np.array([each.id for each in release.objects], dtype=np.int64)[good]
    labels = np.array([catalogue.labels.get(int(each), -1) for each in ids], dtype=np.int8)
    content = np.concatenate([part.content for part in parts])
    masked = np.concatenate([part.masked for part in parts])
    columns = {f"column {name}": catalogue.column(name, ids) for name in catalogue.columns}
    np.savez(folder / "rows.npz", ids=ids, labels=labels, masked=masked, content=content, **columns)  # type: ignore[arg-type]
    present = {each.id for each in release.objects} | release.incomplete.keys()
    about = {
        "set": release.set.name,
        "root": str(release.root.resolve()),
        "normalisation": normalisation,
        "digest": hashlib.sha256(b"".join(map(np.ndarray.tobytes, (ids, content, labels)))).hexdigest()[:16],
        "bad": [[each.id, each.reason] for each in bad],
        "unlabelled": [int(each) for each in ids[labels < 0]],
        "missing": sorted(catalogue.labels.keys() - present),
        "incomplete": sorted(release.incomplete),
    }
    (folder / "about.json").write_text(json.dumps(about, indent=1))


def _each_shard(
    release: Release, normalisation: str, folder: Path, starts: Iterable[int], workers: int
) -> Iterator[tuple[int, _Shard]]:
    objects = {start: release.objects[start : start + SHARD] for start in starts}
    if workers == 1 or len(objects) == 1:
        for start in starts:
            yield start, _pack_shard(objects[start], normalisation, folder, start)
        return
    with ExitStack() as cleanup:
        # Fresh processes: a fork would copy whatever threads the caller has running.
        pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
        cleanup.callback(pool.shutdown, wait=True, cancel_futures=True)
        futures = {pool.submit(_pack_shard, objects[start], normalisation, folder, start): start for start in starts}
        for future in as_completed(futures):
            yield futures[future], future.result()


def _pack_shard(objects: Sequence[CutoutFiles], normalisation: str, folder: Path, start: int) -> _Shard:
    bands = len(objects[0].paths)
    normalise = NORMALISATIONS[normalisation]
    pixels = _map(folder, (-1, bands), "r+")
    good, masked, content, bad = [], [], [], []
    for first in range(0, len(objects), CHUNK):
        raw = np.empty((CHUNK, bands, SIZE, SIZE), np.float32)
        rows: list[int] = []
        for row, each in enumerate(objects[first : first + CHUNK], start + first):
            try:
                for band, path in enumerate(each.paths):
                    raw[len(rows), band] = read_image(path)
            except UnreadableCutout as error:
                bad.append(BadCutout(each.id, str(error)))
                continue
            content.append(int.from_bytes(hashlib.blake2b(raw[len(rows)], digest_size=8).digest(), "little"))
            rows.append(row)
        images = raw[: len(rows)]
        unmeasured = (images == MASKED) | ~np.isfinite(images)
        images[unmeasured] = 0
        masked.append(unmeasured.sum(axis=(2, 3), dtype=np.int32))
        if rows:
            pixels[rows] = normalise(images)
        good += rows
    return _Shard(np.array(good, np.int64), np.concatenate(masked), np.array(content, np.uint64), bad)


def _map(folder: Path, shape: tuple[int, int], mode: str) -> NDArray[np.float32]:
    rows, bands = shape
    path = folder / "pixels.f32"
    if rows < 0:
        rows = path.stat().st_size // (4 * bands * SIZE * SIZE)
    return np.memmap(path, np.float32, mode, shape=(rows, bands, SIZE, SIZE))  # type: ignore[call-overload, no-any-return]


def _close_gaps(folder: Path, good: NDArray[np.int64], shape: tuple[int, int]) -> None:
    total, bands = shape
    if len(good) == total:
        return
    pixels = _map(folder, shape, "r+")
    for first in range(0, len(good), SHARD):
        pixels[first : first + SHARD][: len(good) - first] = pixels[good[first : first + SHARD]]
    del pixels
    os.truncate(folder / "pixels.f32", len(good) * 4 * bands * SIZE * SIZE)


def _open(folder: Path) -> Cutouts:
    about = json.loads((folder / "about.json").read_text())
    imaging = SETS[about["set"]]
    with np.load(folder / "rows.npz") as rows:
        arrays = {name: rows[name] for name in rows.files}
    prefix = "column "
    return Cutouts(
        set=imaging,
        root=Path(about["root"]),
        normalisation=about["normalisation"],
        ids=arrays["ids"],
        pixels=_map(folder, (len(arrays["ids"]), len(imaging.bands)), "r"),
        labels=arrays["labels"],
        masked=arrays["masked"],
        content=arrays["content"],
        digest=about["digest"],
        bad=tuple(BadCutout(identifier, reason) for identifier, reason in about["bad"]),
        unlabelled=tuple(about["unlabelled"]),
        missing=tuple(about["missing"]),
        incomplete=tuple(about["incomplete"]),
        columns={name.removeprefix(prefix): arrays[name] for name in arrays if name.startswith(prefix)},
    )
