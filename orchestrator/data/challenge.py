"""The two sets of the Gravitational Lens Finding Challenge 1.0, and how their files lie on disk.

    <root>/Data_EuclidBig.N/Public/Band1/imageEUC_VIS-<ID>.fits                   Space
    <root>/Data_KiDS_Big.N/Public/Band{1,2,3,4}/imageSDSS_{R,I,G,U}-<ID>.fits     Ground

The training release unpacks without the first of these folders, or with others (``Data.0``, ``files``): a file is known
by its name, wherever it lies within `DEPTH` folders. Identifiers start anew in every release, so they name an object
within one root only.

Source: Metcalf et al. 2019, A&A 625, A119.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import DataError, one_of

SIZE = 101
"""Pixels along each side of a cutout."""

MASKED = 100.0
"""The value of a masked pixel, where good ones are of order 1e-12."""


@dataclass(frozen=True)
class Band:
    """One filter: its name, its folder below ``Public`` and what its file names begin with."""

    name: str
    folder: str
    prefix: str

    @property
    def file_name(self) -> str:
        """The pattern of its files' names, which captures the identifier: no more digits than 64 bits hold."""
        return rf"{re.escape(self.prefix)}-([0-9]{{1,18}})\.(?i:fits?|fts)(?i:\.gz)?"


@dataclass(frozen=True)
class ImagingSet:
    """One set of the challenge.

    Attributes:
        name: ``space`` or ``ground``.
        folder: what the name of a data folder begins with.
        bands: in the order of the channels.
        pixel_scale: arcseconds a pixel.
        catalogue: file name of the test release's labels.
    """

    name: str
    folder: str
    bands: tuple[Band, ...]
    pixel_scale: float
    catalogue: str


SPACE = ImagingSet(
    name="space",
    folder="Data_EuclidBig",
    bands=(Band("VIS", "Band1", "imageEUC_VIS"),),
    pixel_scale=0.1,
    catalogue="euclidB_image_catalog.csv",
)
GROUND = ImagingSet(
    name="ground",
    folder="Data_KiDS_Big",
    bands=tuple(Band(name, f"Band{n}", f"imageSDSS_{name}") for n, name in enumerate("RIGU", start=1)),
    pixel_scale=0.2,
    catalogue="kidsB_image_catalog.csv",
)
SETS = {each.name: each for each in (SPACE, GROUND)}

DEPTH = 5
"""Folders below a root in which files are looked for."""

PACKAGING = "__MACOSX"
"""The folder that a Mac adds to its archives; it adds files that begin with ``._`` too."""

TRAINING_KEY = "classifications.csv"


@dataclass(frozen=True)
class CutoutFiles:
    """The files of one object, one per band, in the order of the set's bands."""

    id: int
    paths: tuple[Path, ...]


@dataclass(frozen=True)
class Release:
    """What lies under one root.

    Attributes:
        root: the folder that was given.
        set: which of the two sets it is.
        objects: complete objects, by identifier.
        incomplete: identifier → names of the bands without a file.
    """

    root: Path
    set: ImagingSet
    objects: tuple[CutoutFiles, ...]
    incomplete: dict[int, tuple[str, ...]]


def named(name: str) -> ImagingSet:
    """Return the set of that name; DataError lists the names there are."""
    if name not in SETS:
        raise DataError(one_of("set", name, tuple(SETS)))
    return SETS[name]


def cutout_path(root: Path, imaging: ImagingSet, part: int, band: Band, identifier: int) -> Path:
    """Where the challenge puts one file."""
    folder = root / f"{imaging.folder}.{part}" / "Public" / band.folder
    return folder / f"{band.prefix}-{identifier}.fits"


def files_below(root: Path, depth: int | None = None) -> Iterator[str]:
    """The paths of all files in a folder and so many folders below it, sorted by folder; not what a Mac added.

    Raises:
        DataError: a folder that cannot be read.
    """
    seen = set()  # folders may be links, to each other too
    for place, folders, names in os.walk(root, onerror=_refuse, followlinks=True):
        below = len(Path(place).relative_to(root).parts)
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(set(folders) - {PACKAGING}) if depth is None or below < depth else []
        # A Path of each would cost ten times as much.
        yield from (os.path.join(place, name) for name in sorted(names) if not name.startswith("."))  # noqa: PTH118


def scan(root: Path) -> Release:
    """Find every cutout under `root`; reads directory entries only.

    Raises:
        DataError: no such folder, no cutouts in it, both sets in it, or one identifier twice.
    """
    files = _found(root)
    if not files:
        if not root.is_dir():
            raise DataError(f"{root}: no such folder")
        looked = " or ".join(f"{imaging.bands[0].prefix}-<ID>.fits" for imaging in SETS.values())
        raise DataError(f"{root}: no cutouts here: no file named {looked}, in folders down to the {DEPTH}th below")
    if len(files) > 1:
        raise DataError(f"{root}: holds both a Space and a Ground set; give each a folder of its own")
    [(imaging, by_id)] = files.items()

    objects, incomplete = [], {}
    for identifier, by_band in sorted(by_id.items()):
        missing = tuple(band.name for band in imaging.bands if band.name not in by_band)
        if missing:
            incomplete[identifier] = missing
        else:
            objects.append(CutoutFiles(identifier, tuple(by_band[band.name] for band in imaging.bands)))
    return Release(root, imaging, tuple(objects), incomplete)


def _found(root: Path) -> dict[ImagingSet, dict[int, dict[str, Path]]]:
    """The files of the challenge's names: set → identifier → band → path."""
    kinds = {
        band.prefix: (imaging, band, re.compile(band.file_name)) for imaging in SETS.values() for band in imaging.bands
    }
    files: dict[ImagingSet, dict[int, dict[str, Path]]] = {}
    for path in files_below(root, DEPTH):
        name = path.rpartition(os.sep)[2]
        kind = kinds.get(name.partition("-")[0])
        if kind is None or (match := kind[2].fullmatch(name)) is None:
            continue
        imaging, band, identifier = kind[0], kind[1], int(match[1])
        found = Path(path)
        earlier = files.setdefault(imaging, {}).setdefault(identifier, {}).setdefault(band.name, found)
        if earlier != found:
            raise DataError(f"{path}: object {identifier} stands in {earlier} too")
    return files


def label_folders(root: Path, imaging: ImagingSet) -> list[Path]:
    """Where the labels of a set may lie.

    In the root, in the folders of its releases and in those that hold one, and above the root if it is one.

    Raises:
        DataError: a folder that cannot be read.
    """
    release = re.compile(rf"({re.escape(imaging.folder)}|Data)\.[0-9]+|Public|files|Band[0-9]")
    folders, above = [root], root.resolve()
    for folder in folders:  # which grows
        for each in _folders_in(folder):
            if any(release.fullmatch(found.name) for found in (each, *_folders_in(each))):
                folders.append(each)
        if len(folder.parts) - len(root.parts) >= DEPTH:
            break
    while release.fullmatch(above.name):
        above = above.parent
        folders.append(above)
    return folders


def _folders_in(folder: Path) -> list[Path]:
    _, names, _ = next(os.walk(folder, onerror=_refuse), ("", [], []))
    return [folder / name for name in sorted(names)]


def _refuse(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise DataError(f"{error.filename}: {error.strerror}")
