"""Finds what is to be scored, and reads it piece by piece.

a folder        in the challenge's layout, or any folder with FITS files below it
.txt, .lst      a list of files, an object a line
a table         with a column of paths: CSV, TSV, ECSV, Parquet, FITS, VOTable
HDF5            a stack: a dataset (n, bands, h, w), or (n, h, w) of one band
"""

from __future__ import annotations

import os
from pathlib import Path

from orchestrator.data import tables
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

FOLDER = "folder"
LISTS = (".txt", ".lst")
STACKS = (".h5", ".hdf5")
TABLES = (".csv", ".tsv", ".ecsv", ".parquet", ".pq", ".fits", ".fit", ".vot", ".votable", ".xml")
"""Suffixes of text, which its content does not tell apart; behind that of a table there may be .gz."""


def find(data: Path, imaging: ImagingSet, units: tuple[Unit, ...] = (), *, resize: bool = False) -> Source:
    """Find the objects that lie in a folder, list, catalogue or stack; see above.

    Args:
        data: what they lie in, told by its content, and of text by its suffix.
        imaging: whose cutouts they have to be.
        units: the HDU to read of every file, or one a band; of a stack its dataset.
        resize: crop larger images around their centre and pad smaller ones, instead of refusing them.

    Raises:
        DataError: there is nothing there to score with a model of that set.
    """
    if not os.path.exists(data):  # noqa: PTH110 - a Path raises for what is no path
        raise DataError(f"{data}: no such file or folder")
    kind = FOLDER if data.is_dir() else tables.kind_of(data)
    if kind == tables.HDF5 or (kind != FOLDER and data.suffix.lower() in STACKS):
        return Stack.open(data, imaging, units, resize)
    if len(units) not in (0, 1, len(imaging.bands)):
        names = ", ".join(band.name for band in imaging.bands)
        raise DataError(f"{len(units)} HDUs where the model takes {len(imaging.bands)} bands ({names})")
    listing = _listing(data, imaging, kind)
    if not len(listing):
        raise DataError(f"{data}: nothing in it to score")
    return Files(listing, imaging, units, resize)


def _listing(data: Path, imaging: ImagingSet, kind: str) -> Listing:
    if kind == FOLDER:
        return folder(data, imaging)
    suffix = Path(data.name.lower().removesuffix(".gz")).suffix
    if kind == tables.TEXT and suffix in LISTS:
        return file_list(data, imaging)
    if kind == tables.TEXT and suffix not in TABLES:
        raise DataError(f"{data}: {one_of('kind of data', data.suffix, ('a folder', *LISTS, *TABLES, *STACKS))}")
    return catalogue(data, imaging)
