"""Lists the FITS files of a folder: the challenge's, or any."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from orchestrator.data.challenge import SETS, ImagingSet, data_folders
from orchestrator.data.sources.listing import SUFFIX, Listing, identifier, stem
from orchestrator.errors import DataError


def folder(root: Path, imaging: ImagingSet) -> Listing:
    """List all FITS files below a folder, in the order of their names, numbers by their value.

    Files that are named as the challenge's, ``imageSDSS_R-ID.fits``, are put together by their ID; any other file
    is an object, with all of its bands.

    Raises:
        DataError: a set of the other kind, or two files for one band of an object.
    """
    bands = {f"{band.prefix}-": number for number, band in enumerate(imaging.bands)}
    others = {f"{band.prefix}-": each for each in SETS.values() if each != imaging for band in each.bands}
    parts = data_folders(root, imaging)
    other = next((each for each in SETS.values() if each != imaging and data_folders(root, each)), None)
    if other is not None and not parts:
        raise _wrong_set(root, other, imaging)
    within = [part / "Public" / band.folder for part in parts for band in imaging.bands] or [root]
    objects: dict[str, list[str | None]] = {}
    for path in (path for top in within for path in _files(top)):
        prefix, dash, _ = os.path.basename(path).partition("-")  # noqa: PTH119 - a Path would cost ten times as much
        if (of := others.get(prefix + dash)) is not None:
            raise _wrong_set(Path(path), of, imaging)
        number = bands.get(prefix + dash)
        if number is None:
            objects[os.path.relpath(path, root)] = [path]
            continue
        paths = objects.setdefault(identifier(path, imaging), [None] * len(bands))
        if paths[number] is not None:
            raise DataError(f"{path}: object {identifier(path, imaging)} stands in {paths[number]} too")
        paths[number] = path
    ids = sorted(objects, key=lambda each: (int(each) if each.isdecimal() else -1, each))
    return Listing.of([stem(each) for each in ids], [objects[each] for each in ids])


def _files(top: Path) -> Iterator[str]:
    def fail(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise DataError(f"{error.filename}: {error.strerror}")

    for place, folders, names in os.walk(top, onerror=fail):
        folders.sort()
        yield from (os.path.join(place, name) for name in sorted(names) if SUFFIX.search(name))  # noqa: PTH118


def _wrong_set(where: Path, there: ImagingSet, wanted: ImagingSet) -> DataError:
    return DataError(f"{where}: of a {there.name} set, and the model takes {wanted.name} cutouts")
