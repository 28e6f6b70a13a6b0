"""Lists, catalogues and stacks as people have them: paths with spaces or that are none, groups, text for numbers."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from astropy.io import fits
from astropy.table import Table

from orchestrator.data import sources
from orchestrator.data.challenge import GROUND, SIZE, SPACE, ImagingSet
from orchestrator.data.sources.pieces import Piece
from orchestrator.errors import DataError, in_one_line

IMAGES = np.random.default_rng(0).normal(0, 1e-12, (3, 4, SIZE, SIZE)).astype(np.float32)
BANDS = [band.name for band in GROUND.bands]


def everything(data: Path, imaging: ImagingSet = SPACE, units: tuple[str, ...] = ()) -> Piece:
    source = sources.find(data, imaging, units)
    return source.read(0, len(source))


@pytest.fixture
def drive(tmp_path: Path) -> list[list[str]]:
    """Files a band of each object, relative, with a space, a comma and an umlaut in their paths."""
    folder = tmp_path / "My Drive" / "lens stämps, 1"
    folder.mkdir(parents=True)
    for number in range(3):
        for channel, band in enumerate(BANDS):
            fits.PrimaryHDU(IMAGES[number, channel]).writeto(folder / f"{band}{number}.fits")
    return [[f"My Drive/lens stämps, 1/{band}{number}.fits" for band in BANDS] for number in range(3)]


BETWEEN = {"tab": "\t", "comma": ",", "comma and space": ", ", "semicolon": ";", "space": " ", "spaces": "   "}


@pytest.mark.parametrize("between", BETWEEN.values(), ids=BETWEEN)
@pytest.mark.parametrize("quote", ["", '"'], ids=["plain", "quoted"])
def test_paths_with_spaces_are_told_apart_in_a_list(
    between: str, quote: str, drive: list[list[str]], tmp_path: Path
) -> None:
    lines = [between.join(f"{quote}{each}{quote}" for each in line) for line in drive]
    (tmp_path / "list.txt").write_text("\n".join(lines))
    np.testing.assert_array_equal(everything(tmp_path / "list.txt", GROUND).flux, IMAGES)
    (tmp_path / "one.txt").write_text("\n".join(f"{quote}{line[0]}{quote}" for line in drive))
    np.testing.assert_array_equal(everything(tmp_path / "one.txt").flux[:, 0], IMAGES[:, 0])


def test_one_file_with_all_bands_may_have_spaces_in_its_path(tmp_path: Path) -> None:
    units = [fits.ImageHDU(IMAGES[0, channel], name=band) for channel, band in enumerate(BANDS)]
    fits.HDUList([fits.PrimaryHDU(), *units]).writeto(tmp_path / "my lens, 0,6 and more.fits")
    (tmp_path / "list.txt").write_text("my lens, 0,6 and more.fits")
    np.testing.assert_array_equal(everything(tmp_path / "list.txt", GROUND).flux[0], IMAGES[0])


@pytest.mark.parametrize("kind", ["list.txt", "list.csv"])
@pytest.mark.parametrize("here", [True, False], ids=["the list's folder", "the working directory"])
def test_where_paths_begin_does_not_hang_on_the_first_of_them(
    kind: str, here: bool, drive: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lists").mkdir()
    path = tmp_path / ("" if here else "lists") / kind
    if not here:
        monkeypatch.chdir(tmp_path)
    lines = ["gone.fits", *(f'"{line[0]}"' for line in drive)]
    path.write_text("\n".join(["path", *lines] if kind == "list.csv" else lines))
    piece = everything(path)
    assert piece.good.tolist() == [False, True, True, True]
    assert "gone.fits: No such file" in piece.rows[0].reason
    np.testing.assert_array_equal(piece.flux[:, 0], IMAGES[:, 0])


@pytest.fixture
def no_files(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Paths that are no regular file, or none at all → what is told of each."""
    os.mkfifo(tmp_path / "pipe.fits")
    (tmp_path / "loop.fits").symlink_to(tmp_path / "loop.fits")
    (tmp_path / "folder.fits").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(tmp_path / "socket.fits"))
        yield {
            "pipe.fits": "a device, pipe or socket",
            "socket.fits": "a device, pipe or socket",
            "/dev/zero": "a device, pipe or socket",
            "loop.fits": "Too many levels",
            "folder.fits": "Is a directory",
            "nul\0.fits": "embedded null byte",
            "esc\x1b[2J.fits": "No such file",
            "long" * 2000 + ".fits": "File name too long",
        }


@pytest.mark.parametrize("kind", ["list.txt", "t.csv", "t.parquet"])
def test_a_path_that_is_no_file_is_a_bad_row_by_name(kind: str, no_files: dict[str, str], tmp_path: Path) -> None:
    fits.PrimaryHDU(IMAGES[0, 0]).writeto(tmp_path / "good.fits")
    if kind == "t.csv":
        del no_files["nul\0.fits"]  # a text with it is refused as a whole
    paths = [*no_files, "good.fits"]
    if kind == "t.parquet":
        pa.parquet.write_table(pa.table({"path": paths}), tmp_path / kind)
    else:
        (tmp_path / kind).write_text("\n".join(["path"] * (kind == "t.csv") + paths))
    piece = everything(tmp_path / kind)
    assert piece.good.tolist() == [False] * len(no_files) + [True]
    for row, (path, told) in zip(piece.rows, no_files.items(), strict=False):
        assert told in row.reason
        assert in_one_line(path) in row.reason
        assert row.reason.isprintable()


def test_what_is_no_file_in_a_folder_is_a_bad_row_too(no_files: dict[str, str], tmp_path: Path) -> None:
    fits.PrimaryHDU(IMAGES[0, 0]).writeto(tmp_path / "good.fits")
    piece = everything(tmp_path)
    assert {row.id: not row.reason for row in piece.rows} == {
        "good": True, "loop": False, "pipe": False, "socket": False,
    }  # fmt: skip


def test_a_file_without_permission_is_a_bad_row(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    for name in ("a.fits", "b.fits"):
        fits.PrimaryHDU(IMAGES[0, 0]).writeto(tmp_path / name)
    (tmp_path / "a.fits").chmod(0)
    (tmp_path / "list.txt").write_text("a.fits\nb.fits")
    for folder in (tmp_path, *tmp_path.parents):
        if not folder.stat().st_mode & 0o001:
            folder.chmod(0o755)
    request.getfixturevalue("without_privileges")
    assert ["Permission denied" in row.reason for row in everything(tmp_path / "list.txt").rows] == [True, False]


def test_a_name_that_is_no_utf_8_is_read_and_told(tmp_path: Path) -> None:
    fits.PrimaryHDU(IMAGES[0, 0]).writeto(tmp_path / "a.fits")
    os.rename(tmp_path / "a.fits", os.fsencode(tmp_path) + b"/caf\xe9.fits")  # noqa: PTH104
    piece = everything(tmp_path)
    np.testing.assert_array_equal(piece.flux[0, 0], IMAGES[0, 0])
    assert (piece.rows[0].id, piece.rows[0].path) == (r"caf\xe9", rf"{tmp_path}/caf\xe9.fits")


def test_a_row_without_an_identifier_is_named_for_its_file(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("path,ID,ra,dec\na.fits,1001.0,12:00:00,-5\nb.fits,,,\n,1003.0,1,2\n,,,\n")
    rows = everything(tmp_path / "t.csv").rows
    assert [row.id for row in rows] == ["1001", "b", "1003", "row 4"]
    np.testing.assert_allclose([(row.ra, row.dec) for row in rows][0::2], [(180, -5), (1, 2)])
    assert np.isnan([rows[1].ra, rows[1].dec]).all()


def test_the_same_object_may_stand_in_a_list_many_times(tmp_path: Path) -> None:
    fits.PrimaryHDU(IMAGES[0, 0]).writeto(tmp_path / "a.fits")
    (tmp_path / "list.txt").write_text("a.fits\n" * 7)
    assert [row.id for row in everything(tmp_path / "list.txt").rows] == ["a"] * 7


def test_identifiers_and_positions_of_a_stack_are_those_of_the_images_own_group(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "s.h5", "w") as file:
        for group, first in (("train", 100), ("test", 900)):
            file[f"{group}/images"] = IMAGES[:, 0]
            file[f"{group}/ID"] = np.arange(first, first + 3)
            file[f"{group}/RA"] = np.arange(3.0) + first / 10
            file[f"{group}/Dec"] = np.arange(3.0)
        file["other/images"] = IMAGES[:, 0]
        file["ra"], file["dec"] = np.arange(3.0), np.arange(3.0)
    rows = everything(tmp_path / "s.h5", units=("test/images",)).rows
    assert [(row.id, row.ra) for row in rows] == [("900", 90), ("901", 91), ("902", 92)]
    rows = everything(tmp_path / "s.h5", units=("other/images",)).rows
    assert [(row.id, row.ra) for row in rows] == [("0", 0), ("1", 1), ("2", 2)]


BESIDE = {
    "text": (["1.5", "", "12:00:00"], [1.5, np.nan, 180]),
    "unsigned": (np.array([1, 2, 3], np.uint64), [1, 2, 3]),
    "other order of bytes": (np.array([1, np.nan, 3], ">f8"), [1, np.nan, 3]),
    "words": (["far", "a", "b"], "row 1: /ra 'far' is no angle"),
    "records": (np.zeros(3, [("a", "f4"), ("b", "f4")]), "column /ra holds something else"),
    "too few": (np.zeros(2), "3 images, and 2 values of /ra"),
    "one for all": (1.5, "column /ra holds something else"),
    "nothing": (h5py.Empty("f8"), "column /ra holds something else"),
    "several a row": (np.zeros((3, 2)), "column /ra holds something else"),
}


@pytest.mark.parametrize(("values", "expected"), BESIDE.values(), ids=BESIDE)
def test_what_lies_beside_the_images_is_read_or_refused_by_name(
    values: object, expected: str | list[float], tmp_path: Path
) -> None:
    with h5py.File(tmp_path / "s.h5", "w") as file:
        file["images"], file["dec"], file["ra"] = IMAGES[:, 0], np.zeros(3), values
    if isinstance(expected, list):
        np.testing.assert_allclose([row.ra for row in everything(tmp_path / "s.h5").rows], expected)
    else:
        with pytest.raises(DataError, match=expected):
            everything(tmp_path / "s.h5")


def test_identifiers_of_a_stack_are_exact_or_refused(tmp_path: Path) -> None:
    big = 1237648720693755905
    for name, values in {"int": np.array([big, 2, 3]), "uint": np.array([2**64 - 1, 2, 3], np.uint64)}.items():
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["images"], file["object_id"] = IMAGES[:, 0], values
        assert [row.id for row in everything(tmp_path / f"{name}.h5").rows] == [str(each) for each in values]
    with h5py.File(tmp_path / "missing.h5", "w") as file:
        file["images"], file["id"] = IMAGES[:, 0], [1, 2, np.nan]
    assert [row.id for row in everything(tmp_path / "missing.h5").rows] == ["1", "2", "[2]"]
    with h5py.File(tmp_path / "refs.h5", "w") as file:
        file["images"] = IMAGES[:, 0]
        file["id"] = np.array([file["images"].ref] * 3, dtype=h5py.ref_dtype)
    with pytest.raises(DataError, match="column /id holds something else"):
        everything(tmp_path / "refs.h5")
    with h5py.File(tmp_path / "words.h5", "w") as file:
        file["images"] = np.array(["a", "b"], dtype=h5py.string_dtype())
    with pytest.raises(DataError, match="0 datasets"):
        everything(tmp_path / "words.h5")


def test_a_stack_or_table_is_told_by_its_content(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "stack.dat", "w") as file:
        file["images"] = IMAGES[:, 0]
    assert everything(tmp_path / "stack.dat").good.all()
    fits.PrimaryHDU(IMAGES[0, 0]).writeto(tmp_path / "a.fits")
    Table({"path": ["a.fits"], "id": np.array([2**64 - 1], np.uint64)}).write(tmp_path / "t", format="fits")
    assert everything(tmp_path / "t").rows[0].id == "18446744073709551615"


@pytest.mark.parametrize("name", ["pipe.txt", "pipe.csv", "pipe.h5", "pipe.parquet", "long" * 99])
def test_what_is_given_has_to_be_a_file_or_folder(name: str, tmp_path: Path) -> None:
    if name.startswith("pipe"):
        os.mkfifo(tmp_path / name)
    with pytest.raises(DataError, match=r"a device, pipe or socket|no such file or folder"):
        everything(tmp_path / name)
