"""Lists the FITS files of a folder: the challenge's, or any."""

from __future__ import annotations

import os
from pathlib import Path

from orchestrator.data.challenge import SETS, ImagingSet, files_below
from orchestrator.data.sources.listing import BLOCK, SUFFIX, Listing, identifier, listed, stem
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
    paths_below = [path for path in files_below(root) if SUFFIX.search(path)]
    layout = {f"{os.sep}{band.folder}{os.sep}{band.prefix}-" for band in imaging.bands}
    # In the challenge's layout, what lies elsewhere is no cutout.
    ordered = [path for path in paths_below if any(each in path for each in layout)] or paths_below
    objects: dict[str, list[str | None]] = {}
    for path in ordered:
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
    blocks = (ids[start : start + BLOCK] for start in range(0, len(ids), BLOCK))
    return Listing.of(listed([stem(each) for each in some], [objects.pop(each) for each in some]) for some in blocks)


def _wrong_set(where: Path, there: ImagingSet, wanted: ImagingSet) -> DataError:
    return DataError(f"{where}: of a {there.name} set, and the model takes {wanted.name} cutouts")
