"""Keeps packed sets, each in a folder named for the place and the state of the files it was packed from.

A folder gets its name when it is whole; nothing opens it before. It replaces what was packed of an earlier state. The
state alone tells what was packed: where the files were moved, which changes none of their times, it is found again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from filelock import FileLock

from orchestrator.data import catalogue
from orchestrator.data.challenge import Release, scan
from orchestrator.data.cutouts import Cutouts
from orchestrator.data.normalise import NORMALISATIONS
from orchestrator.data.packing import Progress, pack, refuse_too_many, unpack
from orchestrator.data.whole import unwritten
from orchestrator.errors import DataError, one_of

FORMAT = "2"
"""Of what is packed: raise it when the files or a normalisation change."""


def load(root: Path, normalisation: str, where: Path) -> Cutouts | None:
    """Map a packed set into memory; None where it has not been packed as its files are now, or where it is damaged.

    Raises:
        DataError: no set there.
    """
    release = scan(root)
    found = unpack(_folder(release, normalisation, where))
    return found and replace(found, root=release.root.resolve())


def build(
    root: Path, normalisation: str, where: Path, *, max_bad: float = 0.01, workers: int | None = None
) -> Iterator[Progress]:
    """Pack a set where `load` finds it, unless it is there whole; a second process waits for the first.

    Args:
        root: a folder in the challenge's layout.
        normalisation: a name of `NORMALISATIONS`.
        where: the folder of all packed sets.
        max_bad: the share of the objects that may be unreadable; they are left out and named.
        workers: processes, by default as many as there are cores.

    Raises:
        DataError: no set there, broken labels, not one complete object, or `where` cannot be written.
        Unreachable: its disk is full.
        TooManyBadCutouts: more than that share, or all.
    """
    if normalisation not in NORMALISATIONS:
        raise DataError(one_of("normalisation", normalisation, tuple(NORMALISATIONS)))
    release = scan(root)
    if not release.objects:
        first, bands = next(iter(release.incomplete.items()))
        raise DataError(f"{root}: not one object has all bands; {first} has no file for {', '.join(bands)}")
    folder = _folder(release, normalisation, where)
    packed = unpack(folder)
    try:
        if packed is None:
            where.mkdir(parents=True, exist_ok=True)
            with FileLock(where / ".lock"):  # one build at a time, since each takes all cores
                packed = unpack(folder)
                if packed is None:
                    yield from _build(release, normalisation, folder, max_bad, workers)
                    return
    except OSError as error:
        raise unwritten(f"{where}: a packed set cannot be kept here", error) from None
    total = len(release.objects)
    refuse_too_many(root, packed.bad, total, max_bad)
    yield total, total


def _build(
    release: Release, normalisation: str, folder: Path, max_bad: float, workers: int | None
) -> Iterator[Progress]:
    for killed in folder.parent.glob("*.partial"):
        shutil.rmtree(killed)
    partial = folder.with_name(f"{folder.name}.partial")
    partial.mkdir()
    try:
        yield from pack(release, normalisation, partial, max_bad, workers)
        place = folder.name.rpartition("-")[0]
        for earlier in folder.parent.glob(f"{place}-????????????????"):
            shutil.rmtree(earlier)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _folder(release: Release, normalisation: str, where: Path) -> Path:
    """Where a set is packed, as its files are now; what was packed before they were moved gets its new name."""
    folder = where / _name(release, normalisation)
    if not folder.exists():
        before = f"{release.set.name}-{normalisation}-????????-{folder.name.rpartition('-')[2]}"
        with contextlib.suppress(OSError):  # another process was faster, or nothing can be written here
            for moved in where.glob(before):
                moved.rename(folder)
    return folder


def _name(release: Release, normalisation: str) -> str:
    """Digests of the root, and of the names, sizes and times of all its files, labels too."""
    root = str(release.root)
    state = hashlib.sha256(f"{FORMAT} {sorted(release.incomplete.items())}".encode())
    files = [path for each in release.objects for path in each.paths]
    for path in (*files, *catalogue.find(release.root, release.set)):
        name = str(path)
        name = name.removeprefix(root) if name.startswith(root) else os.path.relpath(name, root)  # a key above it
        try:
            stat = path.stat()
        except OSError:
            continue  # gone since it was listed: reading it will say so
        # The time of its last change of permissions too: they may have been mended.
        state.update(f"{name} {stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}\n".encode())
    place = hashlib.sha256(bytes(release.root.resolve()))
    return f"{release.set.name}-{normalisation}-{place.hexdigest()[:8]}-{state.hexdigest()[:16]}"
