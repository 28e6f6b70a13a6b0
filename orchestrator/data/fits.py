"""Reads cutouts from FITS files, fast where they are plain and with astropy where they are not."""

from __future__ import annotations

from collections.abc import Sequence
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


def read_cutout(paths: Sequence[Path]) -> Image:
    """Read all bands of one object: (bands, SIZE, SIZE) float32; see `read_image`."""
    return np.stack([read_image(path) for path in paths])


def read_image(path: Path, size: int = SIZE) -> Image:
    """Read the image of a FITS file.

    A plain file (one primary image of 32-bit floats) is read as it lies; anything else goes through astropy:
    another BITPIX, scaled, compressed (gzip too), or in the first extension that holds an image.

    Returns:
        (size, size) float32, in the file's units; some pixels may be NaN or infinite, not all.

    Raises:
        UnreadableCutout: no such file, no FITS, no image, another shape, or no finite pixel.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UnreadableCutout(f"{path}: {error.strerror or error}") from None
    image = _plain(content, size)
    if image is None:
        image = _unusual(path, content)
    if image.shape != (size, size):
        shape = " x ".join(str(side) for side in image.shape) or "no"
        raise UnreadableCutout(f"{path}: an image of {shape} pixels; {size} x {size} is expected")
    if not np.isfinite(image).any():
        raise UnreadableCutout(f"{path}: not one finite pixel")
    return image


def _plain(content: bytes, size: int) -> Image | None:
    """The image of a file that is exactly as the challenge writes it, or None."""
    end = content.find(END)
    header = content[:end]
    # The standard fixes the order of the first five cards.
    mandatory = {"SIMPLE": "T", "BITPIX": "-32", "NAXIS": "2", "NAXIS1": f"{size}", "NAXIS2": f"{size}"}
    for number, (key, value) in enumerate(mandatory.items()):
        card = header[number * CARD : number * CARD + 31]
        if card.rstrip(b" /") != f"{key:8}= {value:>20}".encode():
            return None
    begin = (end // BLOCK + 1) * BLOCK
    bytes_left = len(content) - begin
    if end % CARD or b"BSCALE" in header or b"BZERO" in header or not 4 * size * size <= bytes_left <= _padded(size):
        return None
    block = np.frombuffer(content, ">f4", size * size, begin)
    return block.reshape(size, size).astype(np.float32)


def _padded(size: int) -> int:
    """Bytes of an image's data unit, which fills whole blocks."""
    return -(-4 * size * size // BLOCK) * BLOCK


def _unusual(path: Path, content: bytes) -> Image:
    import gzip
    import io
    import warnings

    from astropy.io import fits

    if not content:
        raise UnreadableCutout(f"{path}: the file is empty")
    try:
        if content.startswith(b"\x1f\x8b"):
            content = gzip.decompress(content)
        # From memory, so that a file too short for its header is an error and not a mapping of nothing.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with fits.open(io.BytesIO(content), memmap=False) as units:
                for unit in units:
                    if unit.is_image and unit.data is not None and unit.data.size:
                        _check_length(unit, content, path)
                        with np.errstate(over="ignore"):
                            return np.ascontiguousarray(unit.data, dtype=np.float32)
    except UnreadableCutout:
        raise
    except Exception as error:  # astropy answers bad files with many kinds, KeyError and IndexError among them
        reason = (str(error).splitlines() or [""])[0]
        raise UnreadableCutout(f"{path}: not a readable FITS file ({type(error).__name__}: {reason})") from None
    raise UnreadableCutout(f"{path}: holds no image")


def _check_length(unit: fits.PrimaryHDU, content: bytes, path: Path) -> None:
    """Refuse a header that declares fewer bytes than follow it, such as BITPIX = 16 over floats."""
    place = unit.fileinfo()
    if content.startswith(b"SIMPLE") and place:
        behind = content[place["datLoc"] + place["datSpan"] :]
        if behind.strip(b"\0") and not behind.startswith(b"XTENSION"):
            raise UnreadableCutout(f"{path}: {len(behind)} bytes more than its header declares")
