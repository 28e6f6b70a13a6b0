"""Reads cutouts from FITS files, fast where they are plain and with astropy where they are not."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from orchestrator.data.challenge import SIZE
from orchestrator.errors import UnreadableCutout

if TYPE_CHECKING:
    from astropy.io import fits

Image = NDArray[np.float32]

CARD, BLOCK = 80, 2880
"""Bytes of one header card and of one FITS block (FITS standard 4.0, section 3)."""

END = b"END" + 77 * b" "

DATA = 4 * SIZE * SIZE
"""Bytes of a plain image; it is padded to whole blocks."""

PLAIN = [
    f"{key:8}= {value:>20}".encode()
    for key, value in {"SIMPLE": "T", "BITPIX": "-32", "NAXIS": "2", "NAXIS1": f"{SIZE}", "NAXIS2": f"{SIZE}"}.items()
]
"""The first cards of a plain file, up to their comments; the standard fixes their order."""

ENDLESS = re.compile(rb"(?:NAXIS|TFIELDS) *= *[+0]*[1-9][0-9]{3}", re.IGNORECASE)
"""More than the 999 axes or columns that FITS allows: astropy would count through them all."""

UNPACKED = 16 << 20
"""Bytes that a file compressed with gzip may unpack to: a small one can grow a thousandfold."""


def read_cutout(paths: Sequence[Path]) -> Image:
    """Read all bands of one object: (bands, SIZE, SIZE) float32; see `read_image`."""
    return np.stack([read_image(path) for path in paths])


def read_image(path: Path) -> Image:
    """Read the image of a FITS file: (SIZE, SIZE) float32; see `images`.

    Raises:
        UnreadableCutout: as `images`, and where there is no such file.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UnreadableCutout(f"{path}: {error.strerror or error}") from None
    image: Image = images(content, str(path))[0]
    return image


def images(content: bytes, name: str, bands: Sequence[str] = ()) -> Image:
    """Take the images of one object out of the content of a FITS file.

    A plain file (one primary image of 32-bit floats) is read as it lies; anything else goes through astropy:
    another BITPIX, scaled, compressed with gzip, or in extensions.

    Args:
        content: of the file, whole.
        name: of the file, for what is told.
        bands: names of the extensions that hold the images; by default the first image there is.

    Returns:
        (bands or 1, SIZE, SIZE) float32, in the file's units; some pixels may be NaN or infinite, not all of a band.

    Raises:
        UnreadableCutout: no FITS, no such image, another shape, or no finite pixel.
    """
    plain = None if bands else _plain(content)
    found = _unusual(content, name, bands) if plain is None else plain[None]
    if not all(np.isfinite(image).any() for image in found):
        raise UnreadableCutout(f"{name}: not one finite pixel")
    return found


def _plain(content: bytes) -> Image | None:
    """The image of a file that is exactly as the challenge writes it, or None."""
    end = content.find(END)
    header = content[:end].upper()
    for number, plain in enumerate(PLAIN):
        card = header[number * CARD : (number + 1) * CARD]
        if not card.startswith(plain) or card[len(plain) :].strip()[:1] not in (b"", b"/"):
            return None
    if end % CARD or b"BSCALE" in header or b"BZERO" in header:
        return None
    begin = (end // BLOCK + 1) * BLOCK
    if not DATA <= len(content) - begin <= -(-DATA // BLOCK) * BLOCK:
        return None
    return np.frombuffer(content, ">f4", SIZE * SIZE, begin).reshape(SIZE, SIZE).astype(np.float32)


def _unusual(content: bytes, name: str, bands: Sequence[str]) -> Image:
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
            # Decompressing a damaged tile can end the process, not only fail.
            with fits.open(io.BytesIO(content), memmap=False, disable_image_compression=True) as units:
                holding = (unit for unit in units if isinstance(unit, fits.PrimaryHDU | fits.ImageHDU) and unit.size)
                chosen = _named(list(holding), bands, name) if bands else list(islice(holding, 1))
                for unit in chosen:
                    _check_shape(unit, content, name)
                if chosen:
                    return np.stack([unit.data for unit in chosen], dtype=np.float32, casting="same_kind")
    except UnreadableCutout:
        raise
    except Exception as error:  # astropy answers bad files with many kinds, KeyError and IndexError among them
        reason = (str(error).splitlines() or [""])[0]
        raise UnreadableCutout(f"{name}: not a readable FITS file ({type(error).__name__}: {reason})") from None
    tiles = ", only a tile-compressed one: unpack it with funpack" if b"ZIMAGE" in content else ""
    raise UnreadableCutout(f"{name}: holds no image{tiles}")


def _named(units: list[fits.PrimaryHDU], bands: Sequence[str], name: str) -> list[fits.PrimaryHDU]:
    named = {unit.name: unit for unit in units}
    missing = [band for band in bands if band not in named]
    if missing:
        raise UnreadableCutout(f"{name}: no image in an extension named {', '.join(missing)}")
    return [named[band] for band in bands]


def _check_shape(unit: fits.PrimaryHDU, content: bytes, name: str) -> None:
    """Refuse another shape, and a header that declares fewer bytes than follow it, such as BITPIX = 16 over floats."""
    if unit.shape != (SIZE, SIZE):
        shape = " x ".join(str(side) for side in unit.shape)
        raise UnreadableCutout(f"{name}: an image of {shape} pixels; {SIZE} x {SIZE} is expected")
    place = unit.fileinfo()
    behind = content[place["datLoc"] + place["datSpan"] :]
    if behind.strip(b"\0") and not behind.startswith(b"XTENSION"):
        raise UnreadableCutout(f"{name}: {len(behind)} bytes more than its header declares")
