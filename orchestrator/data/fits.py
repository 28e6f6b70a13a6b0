"""Reads cutouts from FITS files, fast where they are plain and with astropy where they are not."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from orchestrator.data.challenge import SIZE
from orchestrator.errors import DataError, UnreadableCutout

if TYPE_CHECKING:
    from astropy.io import fits

Image = NDArray[np.float32]

CARD, BLOCK = 80, 2880
"""Bytes of one header card and of one FITS block (FITS standard 4.0, section 3)."""

END = b"END" + 77 * b" "

PLAIN = tuple(f"{key:8}= ".encode() for key in ("SIMPLE", "BITPIX", "NAXIS", "NAXIS1", "NAXIS2"))
"""How the first cards of a plain file begin; the standard fixes their order."""

ENDLESS = re.compile(rb"(?:NAXIS|TFIELDS) *= *[+0]*[1-9][0-9]{3}", re.IGNORECASE)
"""More than the 999 axes or columns that FITS allows: astropy would count through them all."""

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
    """Read the image of a FITS file.

    Returns:
        (SIZE, SIZE) float32, in the file's units; some pixels may be NaN or infinite, not all.

    Raises:
        UnreadableCutout: no such file, no FITS, no image, another shape, or no finite pixel.
    """
    return read_frames(path)[0].image


def read_frames(
    path: Path, units: Sequence[Unit] = (None,), *, any_size: bool = False, tiles: bool = False
) -> list[Frame]:
    """Read images from a FITS file.

    A plain file (one primary image of 32-bit floats) is read as it lies; anything else goes through astropy:
    another BITPIX, scaled, compressed with gzip, or in an extension.

    Args:
        path: the file.
        units: which of its images, in the order they are wanted.
        any_size: take other images than of SIZE × SIZE pixels too.
        tiles: read tile-compressed images too. Decompressing a damaged tile can end the process, not only fail.

    Raises:
        UnreadableCutout: no such file, no FITS, no such image, another shape, or no finite pixel in one.
        TileCompressed: it is one, and they are not wanted.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UnreadableCutout(f"{path}: {error.strerror or error}") from None
    plain = _plain(content) if tuple(units) == (None,) else None
    if plain is None:
        frames = _unusual(path, content, units, any_size, tiles)
    else:
        _check_shape(plain.image.shape, any_size, path)
        frames = [plain]
    for frame, unit in zip(frames, units, strict=True):
        if not np.isfinite(frame.image).any():
            where = "" if unit is None else f" in HDU {unit}"
            raise UnreadableCutout(f"{path}: not one finite pixel{where}")
    return frames


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


def _unusual(path: Path, content: bytes, wanted: Sequence[Unit], any_size: bool, tiles: bool) -> list[Frame]:
    import gzip
    import io
    import warnings

    from astropy.io import fits

    if not content:
        raise UnreadableCutout(f"{path}: the file is empty")
    try:
        if content.startswith(b"\x1f\x8b"):
            content = gzip.decompress(content)
        if ENDLESS.search(content):
            raise UnreadableCutout(f"{path}: declares more than 999 axes or columns")
        # From memory, so that a file too short for its header is an error and not a mapping of nothing.
        with warnings.catch_warnings(), np.errstate(over="ignore"):
            warnings.simplefilter("ignore")
            with fits.open(io.BytesIO(content), memmap=False, disable_image_compression=not tiles) as units:
                return [_frame(units, unit, content, any_size, path) for unit in wanted]
    except UnreadableCutout:
        raise
    except Exception as error:  # astropy answers bad files with many kinds, KeyError and IndexError among them
        reason = (str(error).splitlines() or [""])[0]
        raise UnreadableCutout(f"{path}: not a readable FITS file ({type(error).__name__}: {reason})") from None


def _frame(units: fits.HDUList, wanted: Unit, content: bytes, any_size: bool, path: Path) -> Frame:
    from astropy.io import fits

    def is_image(unit: Any) -> bool:
        return isinstance(unit, fits.PrimaryHDU | fits.ImageHDU | fits.CompImageHDU) and bool(unit.size)

    found = units if wanted is None else [unit for n, unit in enumerate(units) if wanted in (n, unit.name)]
    for unit in found:
        if is_image(unit):
            _check_shape(unit.shape, any_size, path)
            if not isinstance(unit, fits.CompImageHDU):
                _check_span(unit, content, path)
            cards = unit.header.tostring() + units[0].header.tostring()
            return Frame(np.ascontiguousarray(unit.data, dtype=np.float32), cards.encode("latin-1"))
    if any("ZIMAGE" in unit.header for unit in found):
        raise TileCompressed(f"{path}: holds no image, only a tile-compressed one: unpack it with funpack")
    if wanted is None:
        raise UnreadableCutout(f"{path}: holds no image")
    images = [f"{n} {unit.name}".strip() for n, unit in enumerate(units) if is_image(unit)]
    raise UnreadableCutout(f"{path}: no image in HDU {wanted} (those with one: {', '.join(images) or 'none'})")


def _check_span(unit: fits.PrimaryHDU, content: bytes, path: Path) -> None:
    """Refuse a header that declares fewer bytes than follow it, such as BITPIX = 16 over floats."""
    place = unit.fileinfo()
    behind = content[place["datLoc"] + place["datSpan"] :]
    if behind.strip(b"\0") and not behind.startswith(b"XTENSION"):
        raise UnreadableCutout(f"{path}: {len(behind)} bytes more than its header declares")


def _check_shape(shape: tuple[int, ...], any_size: bool, path: Path) -> None:
    if shape != (SIZE, SIZE) and not (any_size and len(shape) == 2):
        told = " x ".join(str(side) for side in shape)
        raise UnreadableCutout(f"{path}: an image of {told} pixels; {SIZE} x {SIZE} is expected")


def table_columns(path: Path) -> list[str]:
    """Names of the columns of the first table in a file; none where there is no table. Raises DataError."""
    return [str(name) for name in _first_table(path).names]


def read_table(path: Path, names: Sequence[str]) -> list[list[Any]]:
    """Read some columns of the first table in a file. Raises DataError."""
    table = _first_table(path)
    return [table[name].tolist() for name in names]


def _first_table(path: Path) -> fits.FITS_rec:
    import warnings

    from astropy.io import fits

    try:
        with warnings.catch_warnings(), fits.open(path, memmap=False, disable_image_compression=True) as units:
            warnings.simplefilter("ignore")
            return next(unit.data for unit in units if isinstance(unit, fits.BinTableHDU | fits.TableHDU))
    except StopIteration:
        raise DataError(f"{path}: holds no table; a folder or a list of images is scored as such") from None
    except Exception as error:  # see `_unusual`
        raise DataError(f"{path}: not a readable FITS table ({(str(error).splitlines() or [''])[0]})") from None
