"""Reads cutouts from FITS files, fast where they are plain and with astropy where they are not."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from orchestrator.data import regular
from orchestrator.data.challenge import SIZE
from orchestrator.data.normalise import unmasked
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

CARDS, CONTINUED, UNITS = 10_000, 1000, 1000
"""Cards of one header, cards that one text may go on over, and HDUs of one file at most; real ones have a third of it.

astropy takes 20 µs a card, 0.4 ms an HDU, and for a text a time that grows with the square of its length.
"""

LONG_TEXT = re.compile(rb"(?:CONTINUE.{72}){%d}" % CONTINUED, re.DOTALL)

LAST = re.compile(rb"END(?![A-Z0-9_-])")
"""The card that ends a header, as astropy finds it."""

UNPACKED = 16 << 20
"""Bytes that a file compressed with gzip may unpack to: a small one can grow a thousandfold."""

GZIP = b"\x1f\x8b"

MEMBERS = 4096
"""How often gzip may begin anew within a file."""

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
    """Take the images of one object, (bands or 1, SIZE, SIZE), out of the content of a FITS file; see `frames`.

    Of several bands they are HDUs of these names, or the planes of its first image.
    """
    return np.stack([frame.image for frame in frames(content, name, bands or (None,), planes=tuple(bands))])


def read_frames(
    path: Path,
    units: Sequence[Unit] = (None,),
    *,
    any_size: bool = False,
    tiles: bool = False,
    planes: Sequence[str] = (),
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
    return frames(content, str(path), units, any_size=any_size, tiles=tiles, planes=planes)


def frames(
    content: bytes,
    name: str,
    units: Sequence[Unit] = (None,),
    *,
    any_size: bool = False,
    tiles: bool = False,
    planes: Sequence[str] = (),
) -> list[Frame]:
    """Take images out of the content of a FITS file.

    A plain file (one primary image of 32-bit floats) is read as it lies; anything else goes through astropy:
    another BITPIX, scaled, compressed with gzip, in an extension, or with further axes of length 1.

    Args:
        content: of the file, whole.
        name: of the file, for what is told.
        units: which of its images, in the order they are wanted.
        any_size: take other images than of SIZE × SIZE pixels too.
        tiles: read tile-compressed images too. Decompressing a damaged tile can end the process, not only fail.
        planes: names of bands; the image of a single unit, or the first where no units have the names that are
            wanted, may be a cube of as many planes: in this order, unless its header names them (BANDS, BAND0 …).

    Raises:
        UnreadableCutout: no FITS, no such image, another shape, no finite pixel in one, or a header beyond `CARDS`.
        TileCompressed: it is one, and they are not wanted.
    """
    plain = _plain(content) if tuple(units) == (None,) and not planes else None
    if plain is None:
        found = _unusual(content, name, units, any_size, tiles, planes)
    else:
        _check_shape(plain.image.shape, any_size, name)
        found = [Frame(unmasked(plain.image), plain.header)]
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


def _unusual(
    content: bytes, name: str, wanted: Sequence[Unit], any_size: bool, tiles: bool, planes: Sequence[str]
) -> list[Frame]:
    import io
    import warnings

    from astropy.io import fits

    if not content:
        raise UnreadableCutout(f"{name}: the file is empty")
    try:
        if content.startswith(GZIP):
            content = _unpacked(content, name)
        _check_costs(content, name)
        # From memory, so that a file too short for its header is an error and not a mapping of nothing.
        with warnings.catch_warnings(), np.errstate(over="ignore"):
            warnings.simplefilter("ignore")
            with fits.open(io.BytesIO(content), memmap=False, disable_image_compression=not tiles) as units:
                found = []
                chosen = _chosen(units, content, wanted, planes, name)
                for unit in chosen:
                    order = _order(unit, planes, name) if planes and len(chosen) == 1 else [0]
                    _check_shape(_sides(unit.shape, len(order)), any_size, name)
                    if not isinstance(unit, fits.CompImageHDU):
                        _check_span(unit, content, name)
                    cards = (unit.header.tostring() + units[0].header.tostring()).encode("latin-1")
                    integers = unit.header["BITPIX"] > 0  # astropy changes it when it scales the data
                    data = np.ascontiguousarray(unit.data, np.float32)
                    data = data.reshape(-1, *data.shape[-2:])
                    found += [Frame(unmasked(data[place], integers=integers), cards) for place in order]
                return found
    except UnreadableCutout:
        raise
    except Exception as error:  # astropy answers bad files with many kinds, KeyError and IndexError among them
        reason = (str(error).splitlines() or [""])[0].partition(" If this is really")[0]  # an argument of astropy's
        raise UnreadableCutout(f"{name}: not a readable FITS file ({type(error).__name__}: {reason})") from None


def _unpacked(content: bytes, name: str) -> bytes:
    """What a file compressed with gzip holds."""
    import gzip
    import io

    if content.count(GZIP + b"\x08") > MEMBERS:
        raise UnreadableCutout(f"{name}: gzip begins anew in it more than {MEMBERS} times")
    unpacked = gzip.GzipFile(fileobj=io.BytesIO(content)).read(UNPACKED + 1)
    if len(unpacked) > UNPACKED:
        raise UnreadableCutout(f"{name}: unpacks to more than {UNPACKED >> 20} MB")
    return unpacked


def unpacks_to(content: bytes, most: int) -> int:
    """Bytes that `frames` would unpack of a file, counted as far as `most`; of a damaged one those before that."""
    import gzip
    import io
    import zlib

    if not content.startswith(GZIP) or content.count(GZIP + b"\x08") > MEMBERS:
        return len(content)
    most, count, file = min(most, UNPACKED + 1), 0, gzip.GzipFile(fileobj=io.BytesIO(content))
    try:
        while count < most and (piece := file.read1(most - count)):
            count += len(piece)
    except (OSError, EOFError, zlib.error):  # which reading will tell
        pass
    return count


def _check_costs(content: bytes, name: str) -> None:
    """Refuse what astropy would not come to an end with."""
    if ENDLESS.search(content):
        raise UnreadableCutout(f"{name}: declares more than 999 axes or columns")
    _check_header(content, 0, name)


def _check_header(content: bytes, start: int, name: str) -> None:
    """Refuse a header, at that place, which astropy would take seconds or minutes to read."""
    if not content.startswith((b"SIMPLE", b"XTENSION"), start):
        return  # astropy says so at once
    longest = start + CARDS * CARD
    ends = (found.start() for found in LAST.finditer(content, start, longest))
    end = next((place for place in ends if (place - start) % CARD == 0), len(content))
    if end > longest:
        raise UnreadableCutout(f"{name}: a header of more than {CARDS:,} cards")
    if LONG_TEXT.search(content, start, end):
        raise UnreadableCutout(f"{name}: a text in its header goes on over {CONTINUED:,} cards")


def _all_units(units: fits.HDUList, content: bytes, name: str) -> Iterator[fits.PrimaryHDU]:
    """All units of a file; astropy reads each when it is asked for, and its header is looked at before."""
    for number, unit in enumerate(units):
        if number == UNITS:
            raise UnreadableCutout(f"{name}: more than {UNITS:,} HDUs")
        yield unit
        place = unit.fileinfo()
        _check_header(content, place["datLoc"] + place["datSpan"], name)


def _chosen(
    units: fits.HDUList, content: bytes, wanted: Sequence[Unit], planes: Sequence[str], name: str
) -> list[fits.PrimaryHDU]:
    """The units that hold the images that are wanted; or the first with an image, where that may be a cube of them."""
    from astropy.io import fits

    kinds = fits.PrimaryHDU | fits.ImageHDU | fits.CompImageHDU
    holding, tiled = [], False
    for number, unit in enumerate(_all_units(units, content, name)):
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
    if tuple(wanted) == tuple(planes) and holding and not any(chosen) and math.prod(holding[0][1].shape[:-2]) > 1:
        return [holding[0][1]]
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


def _sides(shape: tuple[int, ...], planes: int) -> tuple[int, ...]:
    """The shape of a plane where there are as many as that; else all of it, but for axes of length 1 in front."""
    if len(shape) > 2 and math.prod(shape[:-2]) == planes:
        return shape[-2:]
    while len(shape) > 2 and shape[0] == 1:
        shape = shape[1:]
    return shape


def _order(unit: fits.PrimaryHDU, planes: Sequence[str], name: str) -> list[int]:
    """Which plane of a cube each of these bands is: as its header names them, or one after the other."""
    count = math.prod(unit.shape[:-2])
    if count != len(planes):
        told = " x ".join(str(side) for side in unit.shape)
        raise UnreadableCutout(
            f"{name}: an image of {told} pixels; {len(planes)} planes ({', '.join(planes)}) are expected"
        )
    there = _plane_names(unit.header, count)
    if there is None:
        return list(range(count))
    if sorted(there) != sorted(each.upper() for each in planes):
        raise UnreadableCutout(f"{name}: a cube of the bands {', '.join(there)}; {', '.join(planes)} are expected")
    return [there.index(each.upper()) for each in planes]


def _plane_names(header: fits.Header, count: int) -> list[str] | None:
    """What a cutout service calls the planes of a cube: BANDS = 'griz' or 'g,r,i,z', or BAND0 or BAND1 and so on."""
    text = str(header.get("BANDS", "")).strip()
    choices = [re.split(r"[ ,;]+", text), list(text)]
    choices += [[str(header.get(f"BAND{first + n}", "")) for n in range(count)] for first in (0, 1)]
    found = next((names for names in choices if len(names) == count and all(names)), None)
    return found and [each.strip().upper() for each in found]


def _check_shape(shape: tuple[int, ...], any_size: bool, name: str) -> None:
    told = " x ".join(str(side) for side in shape)
    if len(shape) > 2:
        raise UnreadableCutout(
            f"{name}: an image of {told} pixels, a cube; one image is expected: write each plane as a file of its own"
        )
    if shape != (SIZE, SIZE) and not (any_size and len(shape) == 2):
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
        _check_costs(content, name)
        with fits.open(io.BytesIO(content), memmap=False, disable_image_compression=True) as units:
            every = _all_units(units, content, name)
            found = next(unit for unit in every if isinstance(unit, fits.BinTableHDU | fits.TableHDU))
            return Table.read(found, format="fits", unit_parse_strict="silent")
    except DataError:
        raise
    except StopIteration:
        raise DataError(f"{name}: holds no table; a folder or a list of images is scored as such") from None
    except Exception as error:  # see `_unusual`
        raise DataError(f"{name}: not a readable FITS table ({(str(error).splitlines() or [''])[0]})") from None
