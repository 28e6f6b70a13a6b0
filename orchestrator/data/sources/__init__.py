"""Finds what is to be scored, and reads it piece by piece.

a folder                       in the challenge's layout, or any folder with FITS files below it
.txt, .lst                     a list of files, an object a line
.csv, .parquet, .pq, .fits     a catalogue with a column of paths
.h5, .hdf5                     a stack: a dataset (n, bands, h, w), or (n, h, w) of one band
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from orchestrator.data.challenge import ImagingSet
from orchestrator.data.fits import Unit
from orchestrator.data.sources.catalogues import catalogue
from orchestrator.data.sources.files import Files
from orchestrator.data.sources.folders import folder
from orchestrator.data.sources.listing import Listing
from orchestrator.data.sources.lists import file_list
from orchestrator.data.sources.stacks import Stack
from orchestrator.errors import DataError, one_of

Source = Files | Stack

LISTED: dict[str, Callable[[Path, ImagingSet], Listing]] = {
    **dict.fromkeys((".txt", ".lst"), file_list),
    **dict.fromkeys((".csv", ".parquet", ".pq", ".fits"), catalogue),
}
STACKED = (".h5", ".hdf5")


def find(data: Path, imaging: ImagingSet, units: tuple[Unit, ...] = (), *, resize: bool = False) -> Source:
    """Find the objects that lie in a folder, list, catalogue or stack; see above.

    Args:
        data: what they lie in, told by its suffix.
        imaging: whose cutouts they have to be.
        units: the HDU to read of every file, or one a band; of a stack its dataset.
        resize: crop larger images around their centre and pad smaller ones, instead of refusing them.

    Raises:
        DataError: there is nothing there to score with a model of that set.
    """
    if not data.exists():
        raise DataError(f"{data}: no such file or folder")
    if data.suffix.lower() in STACKED:
        return Stack.open(data, imaging, units, resize)
    if len(units) not in (0, 1, len(imaging.bands)):
        names = ", ".join(band.name for band in imaging.bands)
        raise DataError(f"{len(units)} HDUs where the model takes {len(imaging.bands)} bands ({names})")
    if data.is_dir():
        listing = folder(data, imaging)
    elif data.suffix.lower() in LISTED:
        listing = LISTED[data.suffix.lower()](data, imaging)
    else:
        raise DataError(f"{data}: {one_of('kind of data', data.suffix, ('a folder', *LISTED, *STACKED))}")
    if not len(listing):
        raise DataError(f"{data}: nothing in it to score")
    return Files(listing, imaging, units, resize)
