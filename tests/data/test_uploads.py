"""Cutouts that were sent: what is read equals what the files hold, and what is not cutouts says so."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from numpy.typing import NDArray

from orchestrator.data.challenge import GROUND, SPACE, scan
from orchestrator.data.fits import read_cutout
from orchestrator.data.uploads import Upload, from_arrays, from_fits, from_json
from orchestrator.errors import DataError

FLUX = np.random.default_rng(1).normal(0, 1e-12, (3, 4, 101, 101)).astype(np.float32)
LARGEST = 10**7


def npy(array: NDArray[np.generic], **options: bool) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def npz(**arrays: NDArray[np.generic]) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def one_file(names: list[str], images: NDArray[np.float32]) -> bytes:
    file = io.BytesIO()
    units = [fits.ImageHDU(image, name=name) for name, image in zip(names, images, strict=True)]
    fits.HDUList([fits.PrimaryHDU(), *units]).writeto(file)
    return file.getvalue()


def damaged_header(array: NDArray[np.float32], before: bytes, after: bytes) -> bytes:
    content = npy(array)
    assert content.count(before) == 1
    return content.replace(before, after)


@pytest.mark.parametrize(
    "content",
    [
        npy(FLUX),
        npz(flux=FLUX, other=FLUX[:1]),
        npy(np.asfortranarray(FLUX)),
        npy(FLUX.astype(">f4")),
        npy(FLUX.astype(np.float64)),
    ],
    ids=["npy", "npz", "by columns", "big-endian", "double"],
)
def test_arrays_hold_what_was_written(content: bytes) -> None:
    sent = from_arrays(content, GROUND, LARGEST)
    assert [each.id for each in sent] == ["0", "1", "2"]
    np.testing.assert_array_equal([each.flux for each in sent], FLUX)


def test_json_holds_what_was_written() -> None:
    sent = from_json(json.dumps({"flux": FLUX.tolist()}).encode(), GROUND)
    np.testing.assert_array_equal([each.flux for each in sent], FLUX)


def test_null_and_nan_are_pixels_without_a_measurement() -> None:
    numbers = FLUX.tolist()
    numbers[0][0][0][0], numbers[0][0][0][1] = None, float("nan")
    (first, *_) = from_json(json.dumps({"flux": numbers}).encode(), GROUND)
    assert first.flux is not None
    assert np.isnan(first.flux).sum() == 2


def test_one_bad_cutout_is_told_beside_the_others() -> None:
    numbers = FLUX.tolist()
    numbers[0][2] = numbers[0][2][:50]
    numbers[1] = [[["much"] * 101] * 101] * 4
    ragged, text, good = from_json(json.dumps({"flux": numbers}).encode(), GROUND)
    assert ragged.bad == "cutout 0: not numbers in a regular array"
    assert text.bad == "cutout 1: not numbers in a regular array"
    assert good.bad is None
    without = FLUX.copy()
    without[1, 2] = np.nan
    sent = from_arrays(npy(without), GROUND, LARGEST)
    assert [each.bad for each in sent] == [None, "cutout 1: not one finite pixel in band G", None]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (npy(np.array([{}], dtype=object), allow_pickle=True), "nothing is unpickled"),
        (npz(flux=np.zeros((1, 4, 101, 101), [("a", "f4")])), "nothing is unpickled"),
        (pickle.dumps(FLUX), "neither a .npy file nor a .npz file"),
        (npy(FLUX.astype(complex)), "an array of complex128; numbers are expected"),
        (npy(FLUX[0]), r"of shape \(4, 101, 101\); \(n, 4, 101, 101\) is expected"),
        (npy(FLUX[:, :1]), r"of shape \(3, 1, 101, 101\); \(n, 4, 101, 101\) is expected"),
        (npy(FLUX)[:-1], "cut off: 489647 bytes of 489648"),
        (npy(FLUX)[:40], "not a readable"),
        (damaged_header(FLUX, b"(3,", b"(9,"), "cut off"),
        (damaged_header(FLUX, b"(3,", b"(-3,"), "of shape|not a readable"),
        (npz(flux=FLUX)[:-100], "not a readable"),
        (npz(image=FLUX), "no array flux"),
        (npz(flux=np.zeros((100, 4, 101, 101), np.float32)), "100 cutouts at once; 61 of float32 are allowed"),
        (b"", "neither"),
    ],
)
def test_what_is_no_array_of_cutouts_says_what_is_allowed(content: bytes, told: str) -> None:
    with pytest.raises(DataError, match=told) as caught:
        from_arrays(content, GROUND, LARGEST)
    assert "\n" not in str(caught.value)


def test_a_small_archive_of_a_large_array_is_refused_before_it_is_unpacked() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("flux.npy", "w") as member:
        header = {"descr": "<f4", "fortran_order": False, "shape": (10**9, 4, 101, 101)}
        np.lib.format.write_array_header_1_0(member, header)
        member.write(bytes(10**6))
    with pytest.raises(DataError, match="1000000000 cutouts at once"):
        from_arrays(file.getvalue(), GROUND, LARGEST)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"{", "not JSON"),
        (b'{"flux": ' + b"[" * 10**5, "not JSON"),
        (b'{"flax": []}', "no cutouts"),
        (b"[1, 2]", "no cutouts"),
        (b'{"flux": 3}', "no cutouts"),
        (b"\xff\xfe", "not JSON"),
        (b'{"flux": [' + b"0," * 10_000 + b"0]}", "10001 cutouts in 20013 bytes, and the shortest has 81608"),
    ],
)
def test_what_is_no_json_of_cutouts_says_what_is_allowed(content: bytes, told: str) -> None:
    with pytest.raises(DataError, match=told) as caught:
        from_json(content, GROUND)
    assert "\n" not in str(caught.value)


def files_of(folder: Path, field: str = "file") -> list[Upload]:
    return [Upload(field, path.name, path.read_bytes()) for each in scan(folder).objects for path in each.paths]


def test_files_of_the_challenges_names_are_put_together_in_whatever_order_they_come(small_ground: Path) -> None:
    objects = scan(small_ground).objects
    sent = {each.id: each.flux for each in from_fits(files_of(small_ground)[::-1], GROUND, LARGEST)}
    assert sent.keys() == {each.paths[0].name for each in objects}
    for each in objects:
        np.testing.assert_array_equal(sent[each.paths[0].name], read_cutout(each.paths))


def test_a_file_an_object_and_a_file_a_band_hold_the_same(small_ground: Path, small_space: Path) -> None:
    first = scan(small_ground).objects[0]
    pixels = read_cutout(first.paths)
    in_order = [Upload("bands", f"{n}.fits", path.read_bytes()) for n, path in enumerate(first.paths)]
    together = Upload("file", "object.fits", one_file(["psf", *"UGIR"], np.stack([pixels[0], *pixels[::-1]])))
    packed = Upload("file", "object.fits.gz", gzip.compress(together.content))
    sent = from_fits([*in_order, together, packed], GROUND, LARGEST)
    assert [each.id for each in sent] == ["object.fits", "object.fits.gz", "0.fits"]
    for each in sent:
        np.testing.assert_array_equal(each.flux, pixels)
    alone = scan(small_space).objects[0].paths
    (space,) = from_fits([Upload("file", "any name", alone[0].read_bytes())], SPACE, LARGEST)
    np.testing.assert_array_equal(space.flux, read_cutout(alone))


def test_a_file_that_cannot_be_read_is_told_beside_the_others(small_ground: Path) -> None:
    files = files_of(small_ground)[:12]
    files[5] = files[5]._replace(content=files[5].content[:20_000])
    first, second, third = from_fits(files[:-1], GROUND, LARGEST)
    assert first.bad is None
    assert second.bad is not None
    assert second.bad.startswith(f"{files[5].name}: not a readable FITS file")
    assert third.bad == f"{files[8].name}: no file for U"
    (alone,) = from_fits([files[0]._replace(name="r.fits")], GROUND, LARGEST)
    assert alone.bad == "r.fits: no image in an extension named R, I, G, U (there are 0 PRIMARY)"
    bomb = Upload("bands", "r.fits.gz", gzip.compress(bytes(10**8)))
    (large,) = from_fits([bomb] * 4, GROUND, 10**8)
    assert large.bad == "r.fits.gz: unpacks to more than 16 MB"


def test_files_that_are_no_objects_say_what_is_allowed(small_ground: Path) -> None:
    files = files_of(small_ground)[:4]
    with pytest.raises(DataError, match="sent twice"):
        from_fits([*files, files[0]], GROUND, LARGEST)
    with pytest.raises(DataError, match="3 files in the field bands; 4 an object are expected"):
        from_fits([each._replace(field="bands") for each in files[:3]], GROUND, LARGEST)
    with pytest.raises(DataError, match=r"no field 'fil': did you mean 'file'\? \(allowed: file, bands\)"):
        from_fits([files[0]._replace(field="fil")], GROUND, LARGEST)


@pytest.mark.slow
def test_all_files_of_a_request_together_unpack_to_no_more_than_it_may_be_large(
    small_ground: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [each._replace(content=gzip.compress(each.content)) for each in files_of(small_ground)[:8]]
    unpacked: list[int] = []
    for name in ("read", "read1"):
        own = getattr(gzip.GzipFile, name)

        def counting(file: gzip.GzipFile, size: int = -1, own: Callable[..., bytes] = own) -> bytes:
            content = own(file, size)
            unpacked.append(len(content))
            return content

        monkeypatch.setattr(gzip.GzipFile, name, counting)
    together = sum(len(gzip.decompress(each.content)) for each in files)
    assert [each.bad for each in from_fits(files, GROUND, together)] == [None, None]
    bombs = {
        "whole": gzip.compress(bytes(10**7)),
        "too large": gzip.compress(bytes(10**8)),
        "cut off": gzip.compress(bytes(10**7))[:-9],
        "in pieces": gzip.compress(bytes(10**4)) * 1000,
    }
    for content in bombs.values():
        unpacked.clear()
        with pytest.raises(DataError, match=r"the files unpack to more than 30 MB together; send fewer at once"):
            from_fits([Upload("bands", "r.fits.gz", content)] * 4096, GROUND, 30 * 10**6)
        assert sum(unpacked) <= 30 * 10**6 + 1
