"""Reads cutouts from FITS files, fast where they are plain and with astropy where they are not."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from orchestrator.data import regular
from orchestrator.data.challenge import SIZE
from orchestrator.errors import DataError, UnreadableCutout

if TYPE_CHECKING:
    from astropy.io import fits
    from astropy.table import Table

Image = NDArray[np.float32]

CARD, BLOCK = 80, 2880
"""Bytes of one header card and of one FITS block (FITS standard 4.0, section 3)."""

END = b"END" + 77 * b" "

PLAIN = tuple(f"{key:8}= ".encode() for key in ("SIMPLE", "BITPIX", "NAXIS", "NAXIS1", "NAXIS2"))
"""How the first cards of a plain file begin; the standard fixes their order."""

ENDLESS = re.compile(rb"(?:NAXIS|TFIELDS) *= *[+0]*[1-9][0-9]{3}", re.IGNORECASE)
"""More than the 999 axes or columns that FITS allows: astropy would count through them all."""

UNPACKED = 16 << 20
"""Bytes that a file compressed with gzip may unpack to: a small one can grow a thousandfold."""

Unit = int | str | None
"""Which image of a file: number or name (EXTNAME) of its HDU, or None for the first that there is."""


class Frame(NamedTuple):
    """An image (h, w) float32 in the file's units, not all of it NaN or infinite, and the cards that describe it."""

    image: Image
    header: bytes


class TileCompressed(UnreadableCutout):
    """The image is there, and only `tiles` reads it."""


def read_cutout(paths: Sequence[Path]) -> Image:
    """Read all bands of one object: (bands, SIZE, SIZE) float32; see `read_image`."""
    return np.stack([read_image(path) for path in paths])


def read_image(path: Path) -> Image:
    """Read the first image of a FITS file: (SIZE, SIZE) float32; Raises as `read_frames`."""
    return read_frames(path)[0].image


def images(content: bytes, name: str, bands: Sequence[str] = ()) -> Image:
    """Take the images of one object, (bands or 1, SIZE, SIZE), out of the content of a FITS file; see `frames`."""
    return np.stack([frame.image for frame in frames(content, name, bands or (None,))])


def read_frames(
    path: Path, units: Sequence[Unit] = (None,), *, any_size: bool = False, tiles: bool = False
) -> list[Frame]:
    """Read images from a FITS file; see `frames`.

    Raises:
        UnreadableCutout: as there, and where there is no such file.
    """
    try:
        regular.check(path)
        content = path.read_bytes()
    except OSError as error:
        raise UnreadableCutout(f"{path}: {regular.reason(error)}") from None
    return frames(content, str(path), units, any_size=any_size, tiles=tiles)


def frames(
    content: bytes, name: str, units: Sequence[Unit] = (None,), *, any_size: bool = False, tiles: bool = False
) -> list[Frame]:
    """Take images out of the content of a FITS file.

    A plain file (one primary image of 32-bit floats) is read as it lies; anything else goes through astropy:
    another BITPIX, scaled, compressed with gzip, or in an extension.

    Args:
        content: of the file, whole.
        name: of the file, for what is told.
        units: which of its images, in the order they are wanted.
        any_size: take other images than of SIZE × SIZE pixels too.
        tiles: read tile-compressed images too. Decompressing a damaged tile can end the process, not only fail.

    Raises:
        UnreadableCutout: no FITS, no such image, another shape, or no finite pixel in one.
        TileCompressed: it is one, and they are not wanted.
    """
    plain = _plain(content) if tuple(units) == (None,) else None
    if plain is None:
        found = _unusual(content, name, units, any_size, tiles)
    else:
        _check_shape(plain.image.shape, any_size, name)
        found = [plain]
    if not all(np.isfinite(frame.image).any() for frame in found):
        raise UnreadableCutout(f"{name}: not one finite pixel")
    return found


def _plain(content: bytes) -> Frame | None:
    """The image of a file that is as the challenge writes it, but for its size, or None."""
    end = content.find(END)
    header = content[:end].upper()
    values = []
    for number, key in enumerate(PLAIN):
        card = header[number * CARD : (number + 1) * CARD]
        if not card.startswith(key) or card[30:].strip()[:1] not in (b"", b"/"):
            return None
        values.append(card[10:30].lstrip())
    sides = values[3:]
    if values[:3] != [b"T", b"-32", b"2"] or not all(side.isdigit() for side in sides):
        return None
    if end % CARD or b"BSCALE" in header or b"BZERO" in header:
        return None
    width, height = map(int, sides)
    begin, size = (end // BLOCK + 1) * BLOCK, 4 * width * height
    if not 0 < size <= len(content) - begin <= -(-size // BLOCK) * BLOCK:
        return None
    image = np.frombuffer(content, ">f4", width * height, begin).reshape(height, width).astype(np.float32)
    return Frame(image, content[:end])


def _unusual(content: bytes, name: str, wanted: Sequence[Unit], any_size: bool, tiles: bool) -> list[Frame]:
    import gzip
    import io
    import warnings

    from astropy.io import fits

    if not content:
        raise UnreadableCutout(f"{name}: the file is empty")
    try:
        if content.startswith(b"\x1f\x8b"):
            content = gzip.GzipFile(fileobj=io.BytesIO(content)).read(UNPACKED + 1)
            if len(content) > UNPACKED:
                raise UnreadableCutout(f"{name}: unpacks to more than {UNPACKED >> 20} MB")
        if ENDLESS.search(content):
            raise UnreadableCutout(f"{name}: declares more than 999 axes or columns")
        # From memory, so that a file too short for its header is an error and not a mapping of nothing.
        with warnings.catch_warnings(), np.errstate(over="ignore"):
            warnings.simplefilter("ignore")
            with fits.open(io.BytesIO(content), memmap=False, disable_image_compression=not tiles) as units:
                found = []
                for unit in _chosen(units, wanted, name):
                    _check_shape(unit.shape, any_size, name)
                    if not isinstance(unit, fits.CompImageHDU):
                        _check_span(unit, content, name)
                    cards = unit.header.tostring() + units[0].header.tostring()
                    found.append(Frame(np.ascontiguousarray(unit.data, np.float32), cards.encode("latin-1")))
                return found
    except UnreadableCutout:
        raise
    except Exception as error:  # astropy answers bad files with many kinds, KeyError and IndexError among them
        reason = (str(error).splitlines() or [""])[0]
        raise UnreadableCutout(f"{name}: not a readable FITS file ({type(error).__name__}: {reason})") from None


def _chosen(units: fits.HDUList, wanted: Sequence[Unit], name: str) -> list[fits.PrimaryHDU]:
    """The units that hold the images that are wanted."""
    from astropy.io import fits

    kinds = fits.PrimaryHDU | fits.ImageHDU | fits.CompImageHDU
    holding, tiled = [], False
    for number, unit in enumerate(units):
        if isinstance(unit, kinds) and unit.size:
            holding.append((number, unit))
            if tuple(wanted) == (None,):  # what is behind it may be damaged
                return [unit]
        tiled |= "ZIMAGE" in unit.header
    chosen = [
        next((unit for n, unit in holding if each == n or str(each).upper() == unit.name), None) for each in wanted
    ]
    if all(chosen):
        return chosen
    if tiled:
        raise TileCompressed(f"{name}: holds no image, only a tile-compressed one: unpack it with funpack")
    if not holding:
        raise UnreadableCutout(f"{name}: holds no image")
    missing = ", ".join(str(each) for each, unit in zip(wanted, chosen, strict=True) if unit is None)
    there = ", ".join(f"{n} {unit.name}".strip() for n, unit in holding)
    raise UnreadableCutout(f"{name}: no image in an extension named {missing} (there are {there})")


def _check_span(unit: fits.PrimaryHDU, content: bytes, name: str) -> None:
    """Refuse a header that declares fewer bytes than follow it, such as BITPIX = 16 over floats."""
    place = unit.fileinfo()
    behind = content[place["datLoc"] + place["datSpan"] :]
    if behind.strip(b"\0") and not behind.startswith(b"XTENSION"):
        raise UnreadableCutout(f"{name}: {len(behind)} bytes more than its header declares")


def _check_shape(shape: tuple[int, ...], any_size: bool, name: str) -> None:
    if shape != (SIZE, SIZE) and not (any_size and len(shape) == 2):
        told = " x ".join(str(side) for side in shape)
        raise UnreadableCutout(f"{name}: an image of {told} pixels; {SIZE} x {SIZE} is expected")


def read_table(content: bytes, name: str) -> Table:
    """Take the first table out of the content of a FITS file, with units, and masked where a value stands for none.

    Raises:
        DataError: there is none, or it cannot be read.
    """
    import io

    from astropy.io import fits
    from astropy.table import Table

    try:
        with fits.open(io.BytesIO(content), memmap=False, disable_image_compression=True) as units:
            found = next(unit for unit in units if isinstance(unit, fits.BinTableHDU | fits.TableHDU))
            return Table.read(found, format="fits", unit_parse_strict="silent")
    except StopIteration:
        raise DataError(f"{name}: holds no table; a folder or a list of images is scored as such") from None
    except Exception as error:  # see `_unusual`
        raise DataError(f"{name}: not a readable FITS table ({(str(error).splitlines() or [''])[0]})") from None
