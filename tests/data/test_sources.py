"""What is to be scored is found in folders, lists, catalogues and stacks, and reads as astropy and h5py read it."""

from __future__ import annotations

import gzip
import os
import signal
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from astropy.io import fits
from astropy.nddata import Cutout2D
from astropy.table import Table

from orchestrator.data import sources
from orchestrator.data.challenge import GROUND, SIZE, SPACE, ImagingSet, scan
from orchestrator.data.fits import read_cutout
from orchestrator.data.sources.listing import Listing, listed
from orchestrator.errors import DataError

BANDS = [band.name for band in GROUND.bands]
RNG = np.random.default_rng(0)
IMAGES = RNG.normal(0, 1e-12, (5, 4, SIZE, SIZE)).astype(np.float32)


def everything(data: Path, imaging: ImagingSet, units: tuple[int | str, ...] = (), *, resize: bool = False):
    source = sources.find(data, imaging, units, resize=resize)
    return source.read(0, len(source))


def columns(piece: sources.pieces.Piece, name: str) -> list[object]:
    return [getattr(row, name) for row in piece.rows]


@pytest.mark.parametrize("kind", ["space", "ground"])
@pytest.mark.slow
def test_the_challenges_layout_reads_as_it_is_trained_on(kind: str, request: pytest.FixtureRequest) -> None:
    root = request.getfixturevalue(f"{'tiny' if kind == 'space' else 'small'}_{kind}")
    release = scan(root)
    piece = everything(root, release.set)
    assert columns(piece, "id") == [str(each.id) for each in release.objects]
    np.testing.assert_array_equal(piece.flux, np.stack([read_cutout(each.paths) for each in release.objects]))
    assert columns(piece, "path") == [";".join(map(str, each.paths)) for each in release.objects]


@pytest.mark.parametrize("kind", ["space", "ground"])
def test_real_cutouts_come_with_their_place_on_the_sky(kind: str, challenge1: Path) -> None:
    release = scan(challenge1 / kind)
    piece = everything(challenge1 / kind, release.set)
    assert columns(piece, "id") == [str(each.id) for each in release.objects]
    for row, files in zip(piece.rows, release.objects, strict=True):
        header = fits.getheader(files.paths[0])
        assert (row.ra - np.degrees(header["RA"])) % 360 == pytest.approx(0, abs=1e-9)
        assert row.dec == pytest.approx(np.degrees(header["DEC"]))
        masked = sum(int((fits.getdata(path) == 100).sum()) for path in files.paths)
        flags = ["masked"] * bool(masked) + ["copied"] * (row.id == "100013")
        assert (row.masked, row.flags) == (masked, flags)


@pytest.mark.slow
def test_any_folder_with_fits_files_of_every_kind_below_it_will_do(tmp_path: Path) -> None:
    (tmp_path / "tile 1").mkdir()
    fits.PrimaryHDU(IMAGES[0, 0]).writeto(tmp_path / "b.fits")
    (tmp_path / "tile 1" / "a.fits.gz").write_bytes(gzip.compress((tmp_path / "b.fits").read_bytes()))
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(IMAGES[1, 0])]).writeto(tmp_path / "c.fits.fz")
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(IMAGES[2, 0])]).writeto(tmp_path / "d.fit")
    (tmp_path / "notes.txt").write_text("no cutout")
    piece = everything(tmp_path, SPACE)
    assert columns(piece, "id") == ["b", "c", "d", "tile 1/a"]
    unpacked = fits.getdata(tmp_path / "c.fits.fz")
    np.testing.assert_array_equal(piece.flux[:, 0], [IMAGES[0, 0], unpacked, IMAGES[2, 0], IMAGES[0, 0]])


def test_a_flat_folder_of_several_bands_goes_by_the_challenges_names(tmp_path: Path) -> None:
    for number in range(3):
        for channel, band in enumerate(GROUND.bands):
            fits.PrimaryHDU(IMAGES[number, channel]).writeto(tmp_path / f"{band.prefix}-{9 + number}.fits")
    (tmp_path / "imageSDSS_G-10.fits").unlink()
    piece = everything(tmp_path, GROUND)
    assert columns(piece, "id") == ["9", "10", "11"]  # by value
    np.testing.assert_array_equal(piece.flux, IMAGES[[0, 2]])
    assert columns(piece, "reason") == ["", "10: no file for G", ""]
    assert piece.good.tolist() == [True, False, True]


@pytest.mark.slow
def test_a_file_with_all_bands_is_read_by_their_names_or_by_the_hdus_that_are_given(tmp_path: Path) -> None:
    def units(*names: str, kind: type = fits.ImageHDU) -> list[fits.ImageHDU]:
        return [kind(IMAGES[0, BANDS.index(name)], name=name) for name in names]

    fits.HDUList([fits.PrimaryHDU(), *units("U", "G", "R", "I")]).writeto(tmp_path / "named.fits")
    fits.HDUList([fits.PrimaryHDU(), *units("G", "I", "R", "U", kind=fits.CompImageHDU)]).writeto(tmp_path / "tiles.fz")
    fits.HDUList([fits.PrimaryHDU(), *units("G", "I", "R")]).writeto(tmp_path / "short.fits")
    piece = everything(tmp_path, GROUND)
    assert columns(piece, "id") == ["named", "short", "tiles"]
    np.testing.assert_array_equal(piece.flux[0], IMAGES[0])
    with fits.open(tmp_path / "tiles.fz") as tiles:
        np.testing.assert_array_equal(piece.flux[1], [tiles[band].data for band in BANDS])
    assert "no image in an extension named U (there are 1 G, 2 I, 3 R)" in piece.rows[1].reason
    by_number = everything(tmp_path, GROUND, (3, 2, 1, "u"))
    np.testing.assert_array_equal(by_number.flux[1], piece.flux[1])
    (tmp_path / "one").mkdir()
    fits.HDUList([fits.PrimaryHDU(IMAGES[1, 0]), *units("R", "I")]).writeto(tmp_path / "one" / "x.fits")
    np.testing.assert_array_equal(everything(tmp_path / "one", SPACE, ("I",)).flux[0, 0], IMAGES[0, 1])
    np.testing.assert_array_equal(everything(tmp_path / "one", SPACE, (1,)).flux[0, 0], IMAGES[0, 0])


def write_bands(folder: Path) -> list[list[str]]:
    """Five objects of four files each: their names in the order of the bands."""
    names = [[f"{band}{number}.fits" for band in BANDS] for number in range(len(IMAGES))]
    for paths, images in zip(names, IMAGES, strict=True):
        for path, image in zip(paths, images, strict=True):
            fits.PrimaryHDU(image).writeto(folder / path)
    return names


def test_a_list_names_an_object_a_line(tmp_path: Path) -> None:
    names = write_bands(tmp_path)
    between = [" ", ",", ", ", "\t", "  "]
    lines = [separator.join(paths) for separator, paths in zip(between, names, strict=True)]
    (tmp_path / "ground.txt").write_text("\n".join(["# R I G U", *lines, "", "gone.fits"]))
    piece = everything(tmp_path / "ground.txt", GROUND)
    np.testing.assert_array_equal(piece.flux, IMAGES)
    assert columns(piece, "id") == ["R0", "R1", "R2", "R3", "R4", "gone"]
    assert "No such file" in piece.rows[5].reason
    (tmp_path / "R0.fits").rename(tmp_path / "with a space.fits")
    (tmp_path / "space.lst").write_text(f"{tmp_path}/with a space.fits\nI3.fits")
    np.testing.assert_array_equal(everything(tmp_path / "space.lst", SPACE).flux[:, 0], IMAGES[[0, 3], [0, 1]])


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".fits"])
def test_a_catalogue_has_paths_and_may_have_names_and_positions(suffix: str, tmp_path: Path) -> None:
    names = write_bands(tmp_path)
    ids, ra, dec = [f"00{number}" for number in range(5)], np.linspace(10, 350, 5), np.linspace(-80, 80, 5)
    table = {"Mag": ra, "ID": ids, **{f"PATH_{band}": [each[n] for each in names] for n, band in enumerate(BANDS)}}
    catalogue = pa.table({**table, "RA": ra, "Dec": dec})
    path = tmp_path / f"catalogue{suffix}"
    if suffix == ".csv":
        pyarrow.csv.write_csv(catalogue, path)
        path.write_text(f"# of a survey\n# far away\n{path.read_text()}")
    elif suffix == ".parquet":
        pyarrow.parquet.write_table(catalogue, path)
    else:
        Table(catalogue.to_pydict()).write(path)
    piece = everything(path, GROUND)
    np.testing.assert_array_equal(piece.flux, IMAGES)
    assert columns(piece, "id") == ids
    np.testing.assert_allclose([columns(piece, "ra"), columns(piece, "dec")], [ra, dec])


@pytest.mark.parametrize("name", ["file", "FILENAME", "File Name", "image", "cutout_path", "fits_file"])
def test_files_stand_in_a_column_by_any_of_its_usual_names(name: str, tmp_path: Path) -> None:
    names = write_bands(tmp_path)
    (tmp_path / "c.csv").write_text(f"{name},RAJ2000,DEJ2000\n{names[0][0]},10 00 00,-20\n")
    piece = everything(tmp_path / "c.csv", SPACE)
    np.testing.assert_array_equal(piece.flux[0], IMAGES[0, :1])
    assert (piece.rows[0].ra, piece.rows[0].dec) == (pytest.approx(150), -20)
    header = ",".join(f"{name}_{band}" for band in BANDS)
    (tmp_path / "c.csv").write_text(f"{header},g,r\n{','.join(names[1])},21,22\n")
    np.testing.assert_array_equal(everything(tmp_path / "c.csv", GROUND).flux[0], IMAGES[1])


def test_of_two_columns_that_may_be_of_files_none_is_guessed_and_one_called_path_counts(tmp_path: Path) -> None:
    names = [each[0] for each in write_bands(tmp_path)]
    (tmp_path / "c.csv").write_text(f"image,Filename\n1,{names[0]}\n")
    with pytest.raises(DataError, match=r"c.csv: columns Filename and image may each be of the files; call the one"):
        sources.find(tmp_path / "c.csv", SPACE)
    (tmp_path / "c.csv").write_text(f"R,I,G,U,Filename\n1,2,3,4,{names[0]}\n")
    with pytest.raises(DataError, match=r"c.csv: columns R, I, G, U and Filename may each be of the files"):
        sources.find(tmp_path / "c.csv", GROUND)
    (tmp_path / "c.csv").write_text(f"image,file,path\n1,2,{names[0]}\n")
    np.testing.assert_array_equal(everything(tmp_path / "c.csv", SPACE).flux[0], IMAGES[0, :1])


def test_a_row_of_a_catalogue_without_a_path_is_one_bad_row(tmp_path: Path) -> None:
    names = [each[0] for each in write_bands(tmp_path)]
    (tmp_path / "c.csv").write_text("path,magnitude\n" + "\n".join(f"{name},1" for name in [names[0], "", names[2]]))
    piece = everything(tmp_path / "c.csv", SPACE)
    assert piece.good.tolist() == [True, False, True]
    assert "no file for VIS" in piece.rows[1].reason
    np.testing.assert_array_equal(piece.flux[:, 0], IMAGES[[0, 2], 0])


@pytest.mark.slow
def test_a_file_with_all_bands_may_be_a_cube_of_planes(tmp_path: Path) -> None:
    fits.PrimaryHDU(IMAGES[0]).writeto(tmp_path / "a.fits")
    named = fits.PrimaryHDU(IMAGES[1, ::-1])
    named.header["BANDS"] = "ugir"
    named.writeto(tmp_path / "b.fits")
    numbered = fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(IMAGES[2, [1, 0, 2, 3]][:, None], name="SCI")])
    numbered[1].header.update({f"BAND{n}": band for n, band in enumerate("irgu")})
    numbered.writeto(tmp_path / "c.fits")
    fits.PrimaryHDU(IMAGES[3][:3]).writeto(tmp_path / "d.fits")
    other = fits.PrimaryHDU(IMAGES[4])
    other.header["BANDS"] = "griz"
    other.writeto(tmp_path / "e.fits")
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(IMAGES[4])]).writeto(tmp_path / "f.fits")
    piece = everything(tmp_path, GROUND)
    np.testing.assert_array_equal(everything(tmp_path, GROUND, ("SCI",)).flux, IMAGES[2:3])
    assert piece.good.tolist() == [True, True, True, False, False, True]
    np.testing.assert_array_equal(piece.flux, [*IMAGES[:3], fits.getdata(tmp_path / "f.fits")])
    reasons = columns(piece, "reason")
    assert "an image of 3 x 101 x 101 pixels; 4 planes (R, I, G, U) are expected" in reasons[3]
    assert "a cube of the bands G, R, I, Z; R, I, G, U are expected" in reasons[4]


@pytest.mark.parametrize("imaging", [SPACE, GROUND], ids=lambda each: each.name)
def test_a_stack_is_read_as_it_lies(imaging: ImagingSet, tmp_path: Path) -> None:
    images = IMAGES[:, 0] if imaging is SPACE else IMAGES
    with h5py.File(tmp_path / "stack.h5", "w") as file:
        file["cutouts/images"] = images
        file["cutouts/ids"] = [f"object {number}" for number in range(5)]
        file["RA"], file["DEC"] = np.arange(5.0), -np.arange(5.0)
    piece = everything(tmp_path / "stack.h5", imaging)
    np.testing.assert_array_equal(piece.flux, images.reshape(5, -1, SIZE, SIZE))
    assert columns(piece, "id") == [f"object {number}" for number in range(5)]
    assert columns(piece, "dec") == [0, -1, -2, -3, -4]
    assert piece.rows[3].path == f"{tmp_path}/stack.h5[3]"


@pytest.mark.parametrize("shape", [(101, 101), (151, 103), (64, 64), (150, 40), (102, 100)])
@pytest.mark.parametrize("kind", ["folder", "stack"])
def test_other_sizes_are_cut_and_padded_around_their_middle_when_asked_for(
    shape: tuple[int, int], kind: str, tmp_path: Path
) -> None:
    image = RNG.normal(0, 1e-12, shape).astype(np.float32)
    image[shape[0] // 2, shape[1] // 2] = 100
    expected = Cutout2D(image, (shape[1] // 2, shape[0] // 2), SIZE, mode="partial", fill_value=np.nan).data
    fits.PrimaryHDU(image).writeto(tmp_path / "a.fits")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["images"] = image[None]
    data = tmp_path if kind == "folder" else tmp_path / "a.h5"
    piece = everything(data, SPACE, resize=True)
    np.testing.assert_array_equal(piece.flux[0, 0], expected)
    flags = {"cropped": max(shape) > SIZE, "padded": min(shape) < SIZE, "masked": True}
    assert piece.rows[0].flags == [name for name, yes in flags.items() if yes]
    assert piece.rows[0].masked == 1
    if shape != (SIZE, SIZE):
        if kind == "stack":
            with pytest.raises(DataError, match="101 x 101 is expected, or --resize"):
                everything(data, SPACE)
        else:
            assert "101 x 101 is expected" in everything(data, SPACE).rows[0].reason


def test_one_bad_file_among_many_is_one_flagged_row(tmp_path: Path, tiny_space: Path) -> None:
    paths = [each.paths[0] for each in scan(tiny_space).objects]
    (tmp_path / "truncated.fits").write_bytes(paths[0].read_bytes()[:20_000])
    fits.PrimaryHDU(np.full((SIZE, SIZE), np.nan, np.float32)).writeto(tmp_path / "nan.fits")
    fits.PrimaryHDU(np.full((SIZE, SIZE), 100, np.float32)).writeto(tmp_path / "masked.fits")
    listed = [*paths[:3], *sorted(tmp_path.iterdir()), *paths[3:5]]
    (tmp_path / "list.txt").write_text("\n".join(map(str, listed)))
    piece = everything(tmp_path / "list.txt", SPACE)
    assert piece.good.tolist() == [True] * 3 + [False] * 3 + [True] * 2
    np.testing.assert_array_equal(piece.flux, np.stack([read_cutout([path]) for path in paths[:5]]))
    reasons = columns(piece, "reason")[3:6]
    for reason, expected in zip(reasons, ("a measurement in VIS", "finite pixel", "not a readable FITS"), strict=True):
        assert expected in reason
    assert columns(piece, "flags")[3:6] == [["masked", "bad"], ["bad"], ["bad"]]


@pytest.mark.slow
def test_a_tile_that_ends_the_process_that_unpacks_it_costs_one_file(tmp_path: Path) -> None:
    for number in range(2):
        fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(IMAGES[number, 0])]).writeto(tmp_path / f"{number}.fz")
    source = sources.find(tmp_path, SPACE)
    assert isinstance(source, sources.Files)
    assert source.read(0, 1).good.all()
    os.kill(source._isolated._process.pid, signal.SIGKILL)
    source._isolated._process.join()
    assert "ended" in source.read(0, 1).rows[0].reason
    assert source.read(0, 2).good.all()


def test_what_is_listed_is_not_opened_and_takes_little_memory(tmp_path: Path) -> None:
    names = [f"/survey/tile-{number % 100}/object-{number}.fits" for number in range(100_000)]
    (tmp_path / "list.txt").write_text("\n".join(names))
    source = sources.find(tmp_path / "list.txt", SPACE)
    assert isinstance(source, sources.Files)
    assert sum(map(len, source.listing.blocks)) < 50 * len(source)
    assert [each.paths for each in source.listing.entries(99_998, 100_000)] == [(names[-2],), (names[-1],)]


def test_equal_listings_share_a_digest_and_any_change_gives_another() -> None:
    def digest(ids: list[str], paths: list[list[str]]) -> str:
        return Listing.of([listed(ids, paths)]).digest()

    assert digest(["a", "b"], [["x"], ["y"]]) == digest(["a", "b"], [["x"], ["y"]])
    others = [(["a", "c"], [["x"], ["y"]]), (["a", "b"], [["x"], ["z"]]), (["b", "a"], [["y"], ["x"]])]
    assert len({digest(*each) for each in [(["a", "b"], [["x"], ["y"]]), *others]}) == 4


BAD = {
    "nothing": ("nowhere", SPACE, "no such file or folder"),
    "an empty folder": ("empty", SPACE, "nothing in it to score"),
    "an empty list": ("empty.txt", SPACE, "nothing in it to score"),
    "a list of too few bands": ("two.txt", GROUND, r"two.txt:2: 2 paths where one or 4"),
    "a list that is no text": ("binary.txt", SPACE, "not a text file"),
    "another kind": ("a.doc", SPACE, "'.doc' .*allowed: a folder, .txt"),
    "no column of paths": ("c.csv", GROUND, r"no column path or path_R, .* \(its columns: ID, Mag\)"),
    "an empty catalogue": ("none.csv", SPACE, "nothing in it to score"),
    "positions that are none": ("words.csv", SPACE, "words.csv:2: ra 'far' is no angle"),
    "a catalogue that is none": ("bad.parquet", SPACE, "not a Parquet file, as its name says"),
    "an image as a catalogue": ("image.fits", SPACE, "holds no table"),
    "a stack that is none": ("bad.h5", SPACE, "not a readable HDF5 file"),
    "a stack of the other set": ("one.h5", GROUND, "images of 1 bands, and the model takes ground"),
    "a stack of two": ("two.h5", SPACE, r"2 datasets .* --hdu names one \(there: a .*, b"),
}


@pytest.mark.parametrize(("name", "imaging", "told"), BAD.values(), ids=BAD)
def test_what_cannot_be_scored_is_refused_in_one_line(
    name: str, imaging: ImagingSet, told: str, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    texts = {
        "empty.txt": "# nothing\n", "two.txt": "a b c d\na.fits b.fits\n", "a.doc": "", "c.csv": "ID,Mag\n1,2\n",
        "none.csv": "path\n", "words.csv": "path,ra,dec\na.fits,far,away\n", "bad.parquet": "x", "bad.h5": "x",
    }  # fmt: skip
    for each, text in texts.items():
        (tmp_path / each).write_text(text)
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    fits.PrimaryHDU(IMAGES[0, 0]).writeto(tmp_path / "image.fits")
    for each, datasets in {"one.h5": "a", "two.h5": "ab"}.items():
        with h5py.File(tmp_path / each, "w") as file:
            file.update(dict.fromkeys(datasets, IMAGES[:, 0]))
    with pytest.raises(DataError, match=told) as caught:
        sources.find(tmp_path / name, imaging)
    assert "\n" not in str(caught.value)


def test_cutouts_of_the_other_set_are_refused(tiny_space: Path, small_ground: Path) -> None:
    with pytest.raises(DataError, match="of a space set, and the model takes ground"):
        sources.find(tiny_space, GROUND)
    with pytest.raises(DataError, match="of a ground set, and the model takes space"):
        sources.find(small_ground / "Data_KiDS_Big.0" / "Public", SPACE)
