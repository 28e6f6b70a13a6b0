"""The two sets of the Gravitational Lens Finding Challenge 1.0, and how their files lie on disk.

    <root>/Data_EuclidBig.N/Public/Band1/imageEUC_VIS-<ID>.fits                   Space
    <root>/Data_KiDS_Big.N/Public/Band{1,2,3,4}/imageSDSS_{R,I,G,U}-<ID>.fits     Ground

Identifiers start anew in every release, so they name an object within one root only.

Source: Metcalf et al. 2019, A&A 625, A119.
"""

from __future__ import annotations

import re
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
        return rf"{re.escape(self.prefix)}-([0-9]{{1,18}})\.fits"


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


def data_folders(root: Path, imaging: ImagingSet) -> list[Path]:
    """The folders ``Data_….N`` of a set, by N."""
    return [path for _, path in sorted(_numbered(root, rf"{re.escape(imaging.folder)}\.([0-9]+)"))]


def scan(root: Path) -> Release:
    """Find every cutout under `root`; reads directory entries only.

    Raises:
        DataError: no such folder, no cutouts in it, both sets in it, or one identifier twice.
    """
    parts = {imaging: folders for imaging in SETS.values() if (folders := data_folders(root, imaging))}
    if not parts:
        if not root.is_dir():
            raise DataError(f"{root}: no such folder")
        looked = " or ".join(f"{imaging.folder}.N" for imaging in SETS.values())
        raise DataError(f"{root}: no cutouts here: expected folders named {looked}")
    if len(parts) > 1:
        raise DataError(f"{root}: holds both a Space and a Ground set; give each a folder of its own")
    [(imaging, folders)] = parts.items()

    files: dict[int, dict[str, Path]] = {}
    for folder in folders:
        for band in imaging.bands:
            for identifier, path in _numbered(folder / "Public" / band.folder, band.file_name):
                earlier = files.setdefault(identifier, {}).setdefault(band.name, path)
                if earlier != path:
                    raise DataError(f"{path}: object {identifier} stands in {earlier} too")
    if not files:
        raise DataError(f"{root}: no cutouts here: no file named {imaging.bands[0].prefix}-<ID>.fits")

    objects, incomplete = [], {}
    for identifier, by_band in sorted(files.items()):
        missing = tuple(band.name for band in imaging.bands if band.name not in by_band)
        if missing:
            incomplete[identifier] = missing
        else:
            objects.append(CutoutFiles(identifier, tuple(by_band[band.name] for band in imaging.bands)))
    return Release(root, imaging, tuple(objects), incomplete)


def _numbered(folder: Path, pattern: str) -> list[tuple[int, Path]]:
    """What lies in a folder and matches, by the number that the pattern captures; no folder holds nothing."""
    name = re.compile(pattern)
    try:
        return [(int(match[1]), path) for path in folder.iterdir() if (match := name.fullmatch(path.name))]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise DataError(f"{folder}: {error.strerror or error}") from None
