"""Reads cutouts that were sent: as JSON, as an array of numpy, or as FITS files.

One cutout that cannot be read is told beside the others; what is not cutouts at all is refused as a whole. Nothing is
unpickled, and nothing grows beyond what the caller allows, whatever its header declares.
"""

from __future__ import annotations

import io
import math
import re
import time
import zipfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import PurePosixPath
from typing import IO, Any, NamedTuple

import numpy as np

from orchestrator.data.challenge import SIZE, ImagingSet
from orchestrator.data.fits import Image, images, unpacks_to
from orchestrator.data.normalise import unmasked
from orchestrator.errors import DataError, UnreadableCutout, one_of

ARRAY, ARCHIVE = b"\x93NUMPY", b"PK"
"""What files of numpy begin with: .npy and .npz."""

PATIENCE = 30.0
"""Seconds that the files of one request may take to read: the largest that are sound take a third of it."""

OBJECTS = 4096
"""How many objects a JSON may name that are too short for the pixels of so many."""

WHOLE, BY_BAND = "file", "bands"
"""What fields of a form with FITS files are called: a file an object, or a file a band in the order of the bands."""


class Sent(NamedTuple):
    """What came for one object: its image (bands, SIZE, SIZE) float32, or why there is none."""

    id: str
    flux: Image | None = None
    bad: str | None = None


class Upload(NamedTuple):
    """One file of a form."""

    field: str
    name: str
    content: bytes


def shape(imaging: ImagingSet) -> str:
    """What `flux` has to be."""
    return f"(n, {len(imaging.bands)}, {SIZE}, {SIZE})"


def from_json(content: bytes, imaging: ImagingSet) -> list[Sent]:
    """Read ``{"flux": [cutout, …]}``; null and NaN are pixels without a measurement.

    Raises:
        DataError: no such JSON.
    """
    from pydantic_core import from_json as parse  # three times as fast as Python's own

    try:
        document = parse(content)
    except ValueError as error:
        raise DataError(f"not JSON: {error}") from None
    flux = document.get("flux") if isinstance(document, dict) else None
    if not isinstance(flux, list):
        raise DataError(f'no cutouts (allowed: {{"flux": …}} of shape {shape(imaging)})')
    shortest = len("0,") * len(imaging.bands) * SIZE**2
    if len(flux) > max(OBJECTS, len(content) // shortest):
        raise DataError(f"{len(flux)} cutouts in {len(content)} bytes, and the shortest has {shortest}")
    return [_of_numbers(str(number), each, imaging) for number, each in enumerate(flux)]


def from_arrays(content: bytes, imaging: ImagingSet, largest: int) -> list[Sent]:
    """Read a .npy file, or the array `flux` of a .npz file.

    Args:
        content: of the file.
        imaging: whose cutouts they have to be.
        largest: bytes that the array may have; a small archive can hold a large one.

    Raises:
        DataError: neither, pickled, cut off, too large, or of another shape.
    """
    try:
        if content.startswith(ARRAY):
            flux, integers = _array(io.BytesIO(content), imaging, largest)
        elif content.startswith(ARCHIVE):
            with zipfile.ZipFile(io.BytesIO(content)) as archive, archive.open("flux.npy") as file:
                flux, integers = _array(file, imaging, largest)
        else:
            raise DataError("neither a .npy file nor a .npz file with an array flux")
    except DataError:
        raise
    except KeyError:
        raise DataError("no array flux in the .npz file") from None
    except Exception as error:  # archives and what they are packed with answer bad files with many kinds
        raise DataError(f"not a readable .npy or .npz file: {next(iter(str(error).splitlines()), '')}") from None
    return [_checked(str(number), each, imaging, integers=integers) for number, each in enumerate(flux)]


def from_fits(uploads: Sequence[Upload], imaging: ImagingSet, largest: int) -> list[Sent]:
    """Read FITS files: an object each or, of several bands, files of the challenge's names, or of fields `bands`.

    Args:
        uploads: the files.
        imaging: whose cutouts they have to be.
        largest: bytes that they may have together, those compressed with gzip when they are unpacked.

    Raises:
        DataError: another field, a band twice, a number of files that no objects have, or too much to read: more bytes
            than that, or more seconds than `PATIENCE`.
    """
    names = [band.name for band in imaging.bands]
    whole = []
    by_object: defaultdict[str, dict[str, Upload]] = defaultdict(dict)
    for each in uploads:
        if each.field not in (WHOLE, BY_BAND):
            raise DataError(one_of("field", each.field, (WHOLE, BY_BAND)))
        if each.field == BY_BAND:
            continue
        identifier, band = _challenge_name(each, imaging)
        if len(names) == 1 or band is None:
            whole.append(partial(_whole, each, names))
        elif band in by_object[identifier]:
            raise DataError(f"{each.name}: sent twice")
        else:
            by_object[identifier][band] = each

    ordered = [each for each in uploads if each.field == BY_BAND]
    if len(ordered) % len(names):
        raise DataError(f"{len(ordered)} files in the field {BY_BAND}; {len(names)} an object are expected")
    groups = (ordered[start : start + len(names)] for start in range(0, len(ordered), len(names)))
    in_order = [dict(zip(names, files, strict=True)) for files in groups]
    by_band = [partial(_by_band, files, names) for files in (*by_object.values(), *in_order)]
    reads: list[Callable[[], Sent]] = [*whole, *by_band]
    begun = time.monotonic()

    def check_time() -> None:
        if time.monotonic() - begun > PATIENCE:
            raise DataError(f"the files take longer than {PATIENCE:.0f} s to read; send fewer at once")

    left = largest
    for each in uploads:
        check_time()
        left -= unpacks_to(each.content, left + 1)
        if left < 0:
            raise DataError(f"the files unpack to more than {largest / 1e6:g} MB together; send fewer at once")
    sent = []
    for read in reads:
        check_time()
        sent.append(read())
    return sent


def _of_numbers(identifier: str, numbers: Any, imaging: ImagingSet) -> Sent:
    try:
        with np.errstate(over="ignore"):
            cutout = np.asarray(numbers, dtype=np.float32)
    except (ValueError, TypeError, OverflowError):
        return Sent(identifier, bad=f"cutout {identifier}: not numbers in a regular array")
    return _checked(identifier, cutout, imaging)


def _checked(identifier: str, cutout: Image, imaging: ImagingSet, *, integers: bool = False) -> Sent:
    expected = (len(imaging.bands), SIZE, SIZE)
    if cutout.shape != expected:
        return Sent(identifier, bad=f"cutout {identifier}: of shape {cutout.shape}; {expected} is expected")
    for band, image in zip(imaging.bands, cutout, strict=True):
        if not np.isfinite(image).any():
            return Sent(identifier, bad=f"cutout {identifier}: not one finite pixel in band {band.name}")
    return Sent(identifier, unmasked(cutout, integers=integers))


def _array(file: IO[bytes], imaging: ImagingSet, largest: int) -> tuple[Image, bool]:
    """Read an array after its header was found to declare what may be read; tells whether it holds whole numbers."""
    headers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    version = np.lib.format.read_magic(file)
    if version not in headers:
        raise DataError("an array of fields or objects; numbers are expected, and nothing is unpickled")
    found, by_columns, kind = headers[version](file)
    if kind.kind not in "fiu":
        raise DataError(f"an array of {kind}; numbers are expected, and nothing is unpickled")
    if found[1:] != (len(imaging.bands), SIZE, SIZE) or found[0] < 0:
        raise DataError(f"flux of shape {found}; {shape(imaging)} is expected")
    each = kind.itemsize * math.prod(found[1:])
    if found[0] * each > largest:
        raise DataError(f"{found[0]} cutouts at once; {largest // each} of {kind} are allowed")
    content = file.read(found[0] * each)
    if len(content) < found[0] * each:
        raise DataError(f"cut off: {len(content)} bytes of {found[0] * each}")
    with np.errstate(over="ignore"):
        flux = np.frombuffer(content, kind).reshape(found, order="F" if by_columns else "C").astype(np.float32)
    return flux, kind.kind in "iu"


def _challenge_name(upload: Upload, imaging: ImagingSet) -> tuple[str, str | None]:
    """Identifier and band of a file of the challenge's name; no band of any other."""
    for band in imaging.bands:
        found = re.fullmatch(band.file_name, PurePosixPath(upload.name).name)
        if found:
            return found[1], band.name
    return "", None


def _whole(upload: Upload, names: Sequence[str]) -> Sent:
    try:
        return Sent(upload.name, images(upload.content, upload.name, names if len(names) > 1 else ()))
    except UnreadableCutout as error:
        return Sent(upload.name, bad=str(error))


def _by_band(files: dict[str, Upload], names: Sequence[str]) -> Sent:
    """One object, named by its first file."""
    missing = [name for name in names if name not in files]
    identifier = next(files[name].name for name in names if name in files)
    if missing:
        return Sent(identifier, bad=f"{identifier}: no file for {', '.join(missing)}")
    try:
        return Sent(identifier, np.concatenate([images(files[name].content, files[name].name) for name in names]))
    except UnreadableCutout as error:
        return Sent(identifier, bad=str(error))
