from __future__ import annotations

import bz2
import gzip
import io
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from orchestrator.data.challenge import SIZE
from orchestrator.data.fits import images, read_cutout, read_image, read_table
from orchestrator.data.normalise import unmeasured
from orchestrator.errors import UnreadableCutout

PIXELS = np.random.default_rng(0).normal(0, 7.8e-13, (SIZE, SIZE)).astype(np.float32)
COUNTS = np.random.default_rng(0).integers(0, 30_000, (SIZE, SIZE))
TABLE = fits.BinTableHDU.from_columns([fits.Column("flux", "E", array=np.arange(5.0))])


def written(*units: fits.hdu.base._BaseHDU) -> bytes:
    content = io.BytesIO()
    fits.HDUList(list(units)).writeto(content)
    return content.getvalue()


PLAIN = written(fits.PrimaryHDU(PIXELS))


def changed(key: str, value: object) -> bytes:
    """The plain file with another value in one card."""
    at = PLAIN.index(f"{key:8}= ".encode())
    return PLAIN[:at] + f"{key:8}= {value!s:>20}".encode() + PLAIN[at + 30 :]


def scaled() -> bytes:
    unit = fits.PrimaryHDU(COUNTS.astype(np.int16))
    unit.header["BSCALE"], unit.header["BZERO"] = 1e-14, 3e-13
    return written(unit)


def scaled_floats() -> bytes:
    """BSCALE over floats, which astropy applies on reading but does not write."""
    unit = fits.PrimaryHDU(PIXELS)
    unit.header["SCALE"] = 2.0
    return written(unit).replace(b"SCALE   =", b"BSCALE  =")


UNUSUAL = {
    "64-bit floats": written(fits.PrimaryHDU(PIXELS.astype(np.float64))),
    "16-bit integers": written(fits.PrimaryHDU(COUNTS.astype(np.int16))),
    "unsigned integers": written(fits.PrimaryHDU(COUNTS.astype(np.uint16))),
    "scaled integers": scaled(),
    "scaled floats": scaled_floats(),
    "two images": written(fits.PrimaryHDU(PIXELS), fits.ImageHDU(2 * PIXELS)),
    "an image in the extension": written(fits.PrimaryHDU(), fits.ImageHDU(PIXELS)),
    "an image behind a table": written(fits.PrimaryHDU(), TABLE, fits.ImageHDU(PIXELS)),
    "gzip": gzip.compress(PLAIN),
    "gzip in pieces": b"".join(gzip.compress(PLAIN[at : at + 2880]) for at in range(0, len(PLAIN), 2880)),
    "an axis of length 1 in front": written(fits.PrimaryHDU(PIXELS[None])),
    "two axes of length 1 in front": written(fits.PrimaryHDU(), fits.ImageHDU(PIXELS[None, None])),
    "no padding": PLAIN[: 2880 + PIXELS.nbytes],
    "some pixels NaN or infinite": written(
        fits.PrimaryHDU(
            np.where(PIXELS > 1e-12, np.float32("nan"), np.where(PIXELS < -1e-12, np.float32("inf"), PIXELS))
        )
    ),
    "a header of many blocks": written(fits.PrimaryHDU(PIXELS, fits.Header({f"KEY{n}": n for n in range(90)}))),
}

BAD = {
    "empty": (b"", "empty"),
    "a web page": (b"<!DOCTYPE html><html><title>404</title></html>" * 1000, "not a readable FITS file"),
    "noise": (np.random.default_rng(1).bytes(46_080), "not a readable FITS file"),
    "header alone": (PLAIN[:2880], "not a readable FITS file"),
    "half a header": (PLAIN[:1000], "not a readable FITS file"),
    "truncated": (PLAIN[:20_000], "not a readable FITS file"),
    "truncated gzip": (gzip.compress(PLAIN)[:-2000], "not a readable FITS file"),
    "bzip2": (bz2.compress(PLAIN), "not a readable FITS file"),
    "compress, the .Z of old": (b"\x1f\x9d\x90" + PLAIN[:3000], "not a readable FITS file"),
    "BITPIX of 16 over floats": (changed("BITPIX", 16), "more than its header declares"),
    "BITPIX of 8 over floats": (changed("BITPIX", 8), "more than its header declares"),
    "BITPIX of -64 over floats": (changed("BITPIX", -64), "not a readable FITS file"),
    "BITPIX that is not allowed": (changed("BITPIX", 7), "not a readable FITS file|more than its header"),
    "a card that cannot be parsed": (PLAIN.replace(b"-32 /", b"-32 !"), "not a readable FITS file"),
    "more axes than can be counted": (changed("NAXIS", 10**11), "declares more than 999 axes"),
    "NAXIS1 that lies": (changed("NAXIS1", 1001), "an image of 101 x 1001 pixels; 101 x 101 is expected"),
    "NAXIS1 beyond all bounds": (changed("NAXIS1", 10**19), "not a readable FITS file"),
    "NAXIS1 below 0": (changed("NAXIS1", -101), "101 x -101 pixels|not a readable"),
    "NAXIS1 that is text": (changed("NAXIS1", "'101'"), "not a readable FITS file|holds no image"),
    "junk at the end": (PLAIN + b"junk" * 1000, "4000 bytes more than its header declares"),
    "all NaN": (written(fits.PrimaryHDU(np.full_like(PIXELS, np.nan))), "not one finite pixel"),
    "a cube": (written(fits.PrimaryHDU(np.stack([PIXELS] * 3))), "an image of 3 x 101 x 101 pixels"),
    "a row": (written(fits.PrimaryHDU(PIXELS.ravel())), "an image of 10201 pixels"),
    "another size": (written(fits.PrimaryHDU(PIXELS[:-1])), "an image of 100 x 101 pixels"),
    "no pixels along one axis": (written(fits.PrimaryHDU(PIXELS[:0])), "holds no image"),
    "no data": (written(fits.PrimaryHDU()), "holds no image"),
    "tile compression": (
        written(fits.PrimaryHDU(), fits.CompImageHDU(PIXELS)),
        "only a tile-compressed one: unpack it",
    ),
    "a table alone": (written(fits.PrimaryHDU(), TABLE), "holds no image"),
}


def with_header(*cards: str) -> bytes:
    """The plain file with these cards at the end of its header."""
    end = PLAIN.index(b"END" + 77 * b" ")
    header = PLAIN[:end] + b"".join(f"{card:80}".encode() for card in cards) + b"END"
    return header + b" " * (-len(header) % 2880) + PLAIN[2880:]


def with_unit(header: bytes) -> bytes:
    """A file whose first unit is empty and whose second has this file's header and data."""
    return written(fits.PrimaryHDU()) + b"XTENSION= 'IMAGE   '".ljust(80) + header[80:]


# Each takes astropy seconds or more, and far more when it is repeated.
COSTLY = {
    "a text that goes on for long": with_header("KEY     = 'a&'", *["CONTINUE  'abc&'"] * 5000),
    "texts that do not end": with_header(*["CONTINUE  'abc'"] * 5000),
    "half a million cards": with_header(*["COMMENT nothing"] * 500_000),
    "a unit behind the first": with_unit(with_header("KEY     = 'a&'", *["CONTINUE  'abc&'"] * 50_000)),
    "thousands of units": written(fits.PrimaryHDU()) + written(fits.PrimaryHDU(), fits.ImageHDU())[2880:] * 20_000,
}


@pytest.mark.parametrize("content", COSTLY.values(), ids=COSTLY)
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.slow
def test_headers_that_cost_more_than_they_hold_are_refused_before_they_are_read(
    path: Path, content: bytes, pack: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    longest = []
    read = fits.Header.fromstring.__func__
    monkeypatch.setattr(
        fits.Header, "fromstring", classmethod(lambda *each: longest.append(len(each[1])) or read(*each))
    )
    path.write_bytes(pack(content))
    with pytest.raises(
        UnreadableCutout, match=r"goes on over 1,000|of more than 10,000 cards|more than 1,000 HDUs|unpacks to"
    ):
        images(path.read_bytes(), "x", ["A", "B"])
    with pytest.raises(UnreadableCutout, match=r"goes on over 1,000|of more than 10,000 cards|more than 1,000 HDUs"):
        read_table(content, "x")
    assert sum(longest) < 2002 * 2880


def test_gzip_that_begins_anew_without_end_is_refused() -> None:
    with pytest.raises(UnreadableCutout, match="gzip begins anew in it more than 4096 times"):
        images(gzip.compress(b"") * 5000, "x")


def test_headers_as_long_as_real_ones_are_read(path: Path) -> None:
    cards = [f"KEY{n:<5}= {n}" for n in range(4000)]
    path.write_bytes(gzip.compress(with_header(*cards, "LONG    = 'a&'", *["CONTINUE  'abc&'"] * 500, "CONTINUE  'd'")))
    np.testing.assert_array_equal(read_image(path), PIXELS)


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint16, np.int32])
def test_a_hundred_is_a_value_in_whole_numbers_and_blank_is_none(path: Path, kind: type) -> None:
    counts = np.full((SIZE, SIZE), 99, kind)
    counts[0], counts[1] = 100, 101
    unit = fits.PrimaryHDU(counts)
    if kind is not np.uint16:  # whose BZERO astropy writes
        unit.header["BLANK"] = 101
        counts = np.where(counts == 101, np.float32("nan"), counts)
    unit.writeto(path)
    image = read_image(path)
    np.testing.assert_allclose(image, counts, rtol=1e-7)
    assert unmeasured(image).sum() == (0 if kind is np.uint16 else SIZE)


def test_a_hundred_is_a_mask_only_where_flux_is_faint(path: Path) -> None:
    bright, faint = 50 + 20 * np.random.default_rng(0).normal(size=(SIZE, SIZE)).astype(np.float32), PIXELS.copy()
    for image, masked in ((bright, 0), (faint, 3), (np.full_like(PIXELS, 100), SIZE * SIZE)):
        image[4, :3] = 100
        path.write_bytes(written(fits.PrimaryHDU(image)))
        assert unmeasured(read_image(path)).sum() == masked
        np.testing.assert_allclose(read_image(path), image, rtol=1e-7)
    scaled = fits.PrimaryHDU(np.full((SIZE, SIZE), 1000, np.int16))
    scaled.header["BSCALE"] = 0.1
    path.write_bytes(written(scaled))
    assert not unmeasured(read_image(path)).any()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "imageEUC_VIS-100000.fits"


def by_astropy(content: bytes) -> NDArray[np.float32] | None:
    """What astropy makes of the first image, or None where it fails or would count for hours."""
    if re.search(rb"NAXIS *= *[0-9]{4}", content, re.IGNORECASE):
        return None
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            with fits.open(io.BytesIO(content), memmap=False) as units:
                return next(np.asarray(unit.data, np.float32) for unit in units if unit.is_image and unit.size)
        except Exception:
            return None


def test_a_plain_file_reads_as_astropy_reads_it(path: Path) -> None:
    path.write_bytes(PLAIN)
    image = read_image(path)
    assert image.dtype == np.float32
    assert image.dtype.isnative
    np.testing.assert_array_equal(image, PIXELS)
    np.testing.assert_array_equal(image, fits.getdata(path))


def test_real_cutouts_read_as_astropy_reads_them(challenge1: Path) -> None:
    paths = sorted(challenge1.rglob("*.fits"))
    assert len(paths) == 8 + 4 * 6
    for path in paths:
        np.testing.assert_array_equal(read_image(path), fits.getdata(path))


def test_simulated_cutouts_read_as_astropy_reads_them(small_ground: Path) -> None:
    for path in sorted(small_ground.rglob("*.fits")):
        np.testing.assert_array_equal(read_image(path), fits.getdata(path))


def test_plain_files_need_no_astropy(path: Path, small_ground: Path, request: pytest.FixtureRequest) -> None:
    path.write_bytes(PLAIN)
    paths = [path, *sorted(small_ground.rglob("*.fits"))]
    if (request.config.rootpath.parent / "shared" / "challenge1").is_dir():
        paths += sorted(request.getfixturevalue("challenge1").rglob("*.fits"))
    program = "import sys, pathlib; from orchestrator.data.fits import read_image\n"
    program += "for each in sys.argv[1:]: read_image(pathlib.Path(each))\nassert 'astropy' not in sys.modules"
    subprocess.run([sys.executable, "-c", program, *paths], check=True)


@pytest.mark.parametrize("content", UNUSUAL.values(), ids=UNUSUAL)
def test_unusual_files_read_as_astropy_reads_them(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    expected = by_astropy(gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content)
    image = read_image(path)
    assert image.dtype == np.float32
    assert image.shape == (SIZE, SIZE)
    assert expected is not None
    np.testing.assert_allclose(image, expected.reshape(SIZE, SIZE), rtol=1e-7)  # 100 is no mask in whole numbers


def test_scaling_is_applied(path: Path) -> None:
    path.write_bytes(UNUSUAL["scaled integers"])
    np.testing.assert_allclose(read_image(path), COUNTS * 1e-14 + 3e-13, rtol=1e-6)
    path.write_bytes(UNUSUAL["scaled floats"])
    np.testing.assert_allclose(read_image(path), 2 * PIXELS, rtol=1e-6)


@pytest.mark.parametrize(("content", "reason"), BAD.values(), ids=BAD)
def test_bad_files_say_what_is_wrong_and_where(path: Path, content: bytes, reason: str) -> None:
    path.write_bytes(content)
    with pytest.raises(UnreadableCutout, match=reason) as caught:
        read_image(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_missing_or_a_folder_says_so(path: Path) -> None:
    with pytest.raises(UnreadableCutout, match="No such file"):
        read_image(path)
    path.mkdir()
    with pytest.raises(UnreadableCutout, match="Is a directory"):
        read_image(path)


def test_a_file_without_permission_says_so(path: Path, request: pytest.FixtureRequest) -> None:
    path.write_bytes(PLAIN)
    path.chmod(0)
    request.getfixturevalue("without_privileges")
    with pytest.raises(UnreadableCutout, match="Permission denied"):
        read_image(path)


def test_bands_are_stacked_in_the_order_of_their_paths(tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.fits" for name in "RIGU"]
    for number, path in enumerate(paths):
        fits.PrimaryHDU(PIXELS * number).writeto(path)
    np.testing.assert_array_equal(read_cutout(paths), np.stack([PIXELS * n for n in range(4)]))


damage = st.one_of(
    st.tuples(st.just("byte"), st.integers(0, 40 * 80), st.integers(0, 255)),
    st.tuples(st.just("number"), st.sampled_from(["BITPIX", "NAXIS", "NAXIS1", "NAXIS2"]), st.integers(-1000, 10**12)),
    st.tuples(st.just("card"), st.integers(0, 35), st.text("ABENSTIXZ=' 0123456789.-/", max_size=80)),
    st.tuples(st.just("end"), st.integers(0, len(PLAIN)), st.binary(max_size=100)),
)


@given(damages=st.lists(damage, min_size=1, max_size=4))
@settings(max_examples=300, deadline=None)
@pytest.mark.slow
def test_damage_anywhere_gives_astropys_image_or_a_clear_error(
    damages: list[tuple[str, int | str, int | str | bytes]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = bytearray(PLAIN)
    for kind, where, what in damages:
        if kind == "byte":
            content[where : where + 1] = bytes([what])
        elif kind == "number":
            at = max(0, content.find(f"{where:8}= ".encode()))
            content[at + 10 : at + 30] = f"{what:>20}".encode()
        elif kind == "card":
            content[where * 80 : where * 80 + 80] = what.ljust(80).encode()
        else:
            content[where:] = what
    path = tmp_path_factory.getbasetemp() / "damaged.fits"
    path.write_bytes(content)
    try:
        image = read_image(path)
    except UnreadableCutout as error:
        assert str(error).startswith(f"{path}: ")  # noqa: PT017 - an image is as welcome as an error
        return
    assert image.shape == (SIZE, SIZE)
    expected = by_astropy(bytes(content))
    if expected is not None:
        np.testing.assert_array_equal(image, expected)
