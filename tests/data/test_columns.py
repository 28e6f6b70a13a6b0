"""A column reads the same out of any kind of table, as pandas and astropy read it."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pyarrow as pa
import pytest
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.table import MaskedColumn, Table

from orchestrator.data import tables
from orchestrator.data.columns import Column, agreed, canonical, column, pairs, positions
from orchestrator.errors import DataError

BIG = 1237648720693755905
"""An identifier of SDSS: floating point would round it."""


def read(path: Path, *names: str) -> list[Column]:
    table = tables.Table.open(path)
    return table.read([table.place(each) for each in names])


def written(values: Any) -> Column:
    return column(Path("t.fits"), "id", values)


WRITERS: dict[str, Callable[[Table, Path], object]] = {
    "t.csv": lambda table, path: table.write(path, format="ascii.csv"),
    "t.csv.gz": lambda table, path: path.write_bytes(gzip.compress(table.to_pandas().to_csv(index=False).encode())),
    "t.tsv": lambda table, path: table.write(path, format="ascii.tab"),
    "t.ecsv": lambda table, path: table.write(path, format="ascii.ecsv"),
    "t.vot": lambda table, path: table.write(path, format="votable"),
    "binary.xml": lambda table, path: table.write(path, format="votable", tabledata_format="binary2"),
    "t.vot.gz": lambda table, path: (
        table.write(path.with_suffix(""), format="votable"),
        path.write_bytes(gzip.compress(path.with_suffix("").read_bytes())),
    ),
    "t.fits": lambda table, path: table.write(path),
    "t.fits.gz": lambda table, path: table.write(path),
    "t.fit": lambda table, path: table.write(path, format="fits"),
    "t.parquet": lambda table, path: table.write(path),
    "t.pq": lambda table, path: table.to_pandas().to_parquet(path),
    "an index.parquet": lambda table, path: table.to_pandas().set_index("ID").to_parquet(path),
    "no suffix": lambda table, path: table.write(path, format="votable"),
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.filterwarnings("ignore")
def test_identifiers_texts_labels_and_angles_are_the_same_in_every_kind_of_table(name: str, tmp_path: Path) -> None:
    table = Table(
        {
            "ID": MaskedColumn([BIG, BIG + 1, 7], dtype=np.int64),
            "path": ["a b.fits", "ü.fits" if "fit" not in name else "u.fits", "c,d.fits"],
            "RA": MaskedColumn([150.25, 0, 10.5], mask=[False, True, False]),
            "Dec": [-2.5, 0.0, 89.0],
            "is_lens": [True, False, True],
        }
    )
    WRITERS[name](table, tmp_path / name)
    ids, paths, ra, dec, labels = read(tmp_path / name, "id", "PATH", "ra", "dec", "is_lens")
    assert ids.ids() == [str(BIG), str(BIG + 1), "7"]
    assert paths.texts() == list(table["path"])
    np.testing.assert_array_equal(positions(ra, dec), [[150.25, np.nan, 10.5], [-2.5, np.nan, 89]])
    assert labels.labels(ids.ids()).tolist() == [1, 0, 1]


@pytest.mark.parametrize("name", ["t.fits", "t.ecsv", "t.vot", "t.parquet"])
@pytest.mark.parametrize(("ra", "dec"), [("rad", "rad"), ("hourangle", "deg"), ("deg", "arcmin"), ("deg", "arcsec")])
@pytest.mark.filterwarnings("ignore")
def test_a_unit_that_the_file_tells_counts(name: str, ra: str, dec: str, tmp_path: Path) -> None:
    sky = SkyCoord([10.5, 350.25], [-30.5, 60.25], unit="deg")
    table = Table({"RA": sky.ra.to(ra), "Dec": sky.dec.to(dec)})
    if name == "t.fits" and ra == "hourangle":
        table["RA"].unit = units.Unit("h")  # FITS knows no other name of it
    table.write(tmp_path / name, **({"format": "votable"} if name == "t.vot" else {}))
    np.testing.assert_allclose(positions(*read(tmp_path / name, "ra", "dec")), [sky.ra.deg, sky.dec.deg], rtol=1e-14)


def test_a_unit_may_stand_behind_the_name(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("RA [hour],DEC (rad)\n10,1\n")
    found = positions(*read(tmp_path / "t.csv", "ra", "dec"))
    np.testing.assert_allclose(found, [[150], [np.degrees(1)]])
    (tmp_path / "t.csv").write_text("RA (h m s),DEC (d m s)\n10 00 00,-1 30 00\n")
    np.testing.assert_allclose(positions(*read(tmp_path / "t.csv", "ra", "dec")), [[150], [-1.5]])
    (tmp_path / "t.csv").write_text("RA [mag],Dec\n10,1\n")
    with pytest.raises(DataError, match=r"column RA \[mag\] is in 'mag', which is no angle \(allowed: deg"):
        positions(*read(tmp_path / "t.csv", "ra", "dec"))


SURVEYS = {
    "SDSS, DES, HSC, Gaia": ("ra", "DEC"),
    "by hand": ("ra_deg", "dec_deg"),
    "a space": ("RA deg", "Dec deg"),
    "the system behind": ("RA (J2000)", "Dec [ICRS]"),
    "VizieR": ("RAJ2000", "DEJ2000"),
    "computed by VizieR": ("_RAJ2000", "_DEJ2000"),
    "computed by VizieR at the epoch": ("_RA.icrs", "_DE.icrs"),
    "Gaia in VizieR": ("RA_ICRS", "DE_ICRS"),
    "KiDS": ("RAJ2000", "DECJ2000"),
    "SExtractor": ("ALPHA_J2000", "DELTA_J2000"),
    "SExtractor, windowed": ("ALPHAWIN_J2000", "DELTAWIN_J2000"),
    "Euclid": ("RIGHT_ASCENSION", "DECLINATION"),
    "Pan-STARRS": ("raMean", "decMean"),
    "DESI": ("TARGET_RA", "TARGET_DEC"),
}


def on_the_sky(path: Path) -> Any:
    table = tables.Table.open(path)
    return agreed([table.read(each) for each in pairs(table.find)])


@pytest.mark.parametrize(("ra", "dec"), SURVEYS.values(), ids=SURVEYS)
def test_positions_are_found_by_the_names_that_surveys_give_them(ra: str, dec: str, tmp_path: Path) -> None:
    Table({"a_world": [1.0], ra: [350.25], f"e_{ra}": [0.1], dec: [-2.5]}).write(tmp_path / "t.fits")
    np.testing.assert_array_equal(on_the_sky(tmp_path / "t.fits"), [[350.25], [-2.5]])


def test_of_two_pairs_the_one_called_ra_and_dec_counts_and_others_have_to_agree(tmp_path: Path) -> None:
    header, path = "ID,ALPHA_J2000,DELTA_J2000,RA_ICRS,DE_ICRS", tmp_path / "t.csv"
    path.write_text(f"{header}\n1,10,-20,10.0001,-20.0001\n2,0.00001,0,359.99999,0\n3,,,5,6\n")
    np.testing.assert_array_equal(on_the_sky(path), [[10.0001, 359.99999, 5], [-20.0001, 0, 6]])
    path.write_text(f"{header}\n1,10,-20,10,-20\n2,10,-20,10,-20.01\n")
    told = "t.csv:3: columns RA_ICRS, DE_ICRS and ALPHA_J2000, DELTA_J2000 say two positions; call those that count ra"
    with pytest.raises(DataError, match=told):
        on_the_sky(path)
    path.write_text(f"{header},RA,Dec\n1,10,-20,30,-40,50,-60\n")
    np.testing.assert_array_equal(on_the_sky(path), [[50], [-60]])
    path.write_text("ID,RA,DE_ICRS\n1,10,-20\n")
    assert on_the_sky(path) is None


def test_rubins_coordinates_are_in_the_unit_that_the_file_tells_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.fits"
    table = Table({"coord_ra": [np.pi / 2], "coord_dec": [-np.pi / 4]}, units=["rad", "rad"])
    table.write(path)
    np.testing.assert_allclose(on_the_sky(path), [[90], [-45]])
    Table(table, units={"coord_ra": "deg", "coord_dec": "deg"}).write(path, overwrite=True)
    np.testing.assert_allclose(on_the_sky(path), [[np.pi / 2], [-np.pi / 4]])
    table.to_pandas().to_parquet(tmp_path / "t.parquet")
    told = r"t.parquet: column coord_ra has no unit, and is in radians in .* call it 'coord_ra \[rad\]' or \[deg\]"
    with pytest.raises(DataError, match=told):
        on_the_sky(tmp_path / "t.parquet")
    table["ra"], table["dec"] = [1.0], [2.0]
    table.to_pandas().to_parquet(tmp_path / "t.parquet")
    np.testing.assert_array_equal(on_the_sky(tmp_path / "t.parquet"), [[1], [2]])


def test_right_ascensions_lie_from_0_to_360_or_are_unknown(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("ra,dec\n-10,1\n360,1\n400,1\n-999,1\n10,91\n")
    found = positions(*read(tmp_path / "t.csv", "ra", "dec"))
    np.testing.assert_array_equal(found, [[350, 0, *[np.nan] * 3], [1, 1, *[np.nan] * 3]])


@pytest.mark.parametrize("ra", ["10:00:27.9", "10h00m27.9s", "10 00 27.9", "150d06m58.5s"])
@pytest.mark.parametrize("dec", ["-00:12:45.6", "-0d12m45.6s", "-00 12 45.6"])
def test_sexagesimal_text_reads_as_astropy_reads_it(ra: str, dec: str, tmp_path: Path) -> None:
    sky = SkyCoord("10:00:27.9", "-00:12:45.6", unit=("hourangle", "deg"))
    Table({"ra": [ra, "150.5"], "dec": [dec, "--"]}).write(tmp_path / "t.ecsv")
    found = positions(*read(tmp_path / "t.ecsv", "ra", "dec"))
    np.testing.assert_allclose(found, [[sky.ra.deg, np.nan], [sky.dec.deg, np.nan]])


@pytest.mark.parametrize("unknown", ["", "nan", "NaN", "null", "NULL", "None", "-", "--", "N/A", "-999 -999"])
def test_an_unknown_position_is_unknown_and_not_an_error(unknown: str, tmp_path: Path) -> None:
    ra, dec = unknown.split() or [""] if " " in unknown else (unknown, "5")
    (tmp_path / "t.csv").write_text(f"ra,dec\n{ra},{dec}\n1,2\n")
    np.testing.assert_array_equal(positions(*read(tmp_path / "t.csv", "ra", "dec")), [[np.nan, 1], [np.nan, 2]])


def test_a_value_that_stands_for_none_in_fits_is_none(tmp_path: Path) -> None:
    table = Table({"id": MaskedColumn([5, 1, 7], mask=[False, True, False], fill_value=999999), "ra": [1.0, np.nan, 3]})
    table.write(tmp_path / "t.fits")
    ids, ra = read(tmp_path / "t.fits", "id", "ra")
    assert ids.ids() == ["5", None, "7"]
    np.testing.assert_array_equal(ra.degrees(hours=True), [1, np.nan, 3])


IDS: dict[str, tuple[Any, list[str | None]]] = {
    "64 bits": (np.array([BIG, -1]), [str(BIG), "-1"]),
    "64 bits without a sign": (np.array([2**64 - 1], np.uint64), ["18446744073709551615"]),
    "another order of bytes": (np.array([1, 2], ">i4"), ["1", "2"]),
    "floating point": (np.array([1001.0, np.nan, 3]), ["1001", None, "3"]),
    "floating point of 32 bits": (np.array([1001, 16777215], np.float32), ["1001", "16777215"]),
    "bytes": (np.array([b"J0001 ", b"", b"J0003\0"]), ["J0001", None, "J0003"]),
    "bytes that are no UTF-8": (np.array([b"\xe9"]), ["é"]),
    "text that is no UTF-8": (
        pa.chunked_array([pa.StringArray.from_buffers(1, pa.py_buffer(b"\0\0\0\0\1\0\0\0"), pa.py_buffer(b"\xe9"))]),
        ["é"],
    ),
    "masked": (np.ma.array([1, 2], mask=[True, False]), [None, "2"]),
    "categories": (pa.chunked_array([["a", "b", "a"]]).dictionary_encode(), ["a", "b", "a"]),
    "decimals with a point": (
        pa.chunked_array([pa.array([Decimal(f"{BIG}.00"), Decimal(f"{BIG + 1}"), None])]),
        [str(BIG), str(BIG + 1), None],
    ),
    "decimals that are no whole numbers": (pa.chunked_array([pa.array([Decimal("1.5")])]), ["1.5"]),
    "text with any space around it": (["\u00a07\u3000", "\x0c8 "], ["7", "8"]),
    "decimals": (pa.chunked_array([pa.array([BIG]).cast(pa.decimal128(19))]), [str(BIG)]),
    "text with zeros in front": (["007", " 7 ", ""], ["007", "7", None]),
    "text as of floating point": (["1001.0", "1002.0", ""], ["1001", "1002", None]),
    "text as of floating point with a power": (["1.0e+05", "1e5 "], ["1.0e+05", "1e5"]),
    "versions": (["2.1", "2.10", "2.0"], ["2.1", "2.10", "2.0"]),
    "names that differ by a zero": (["1.0", "1.00"], ["1.0", "1.00"]),
    "mixed": (["1", "1.0"], ["1", "1.0"]),
}


@pytest.mark.parametrize(("values", "expected"), IDS.values(), ids=IDS)
def test_identifiers_are_exact_text(values: Any, expected: list[str | None]) -> None:
    assert written(values).ids() == expected


ROUNDED = {
    "64 bits": np.array([1237648720693755905.0]),
    "the first that is not exact": np.array([2.0**53]),
    "32 bits": np.array([2**24], np.float32),
    "text": ["1.237648720693756e+18", "1.0"],
}


@pytest.mark.parametrize("values", ROUNDED.values(), ids=ROUNDED)
def test_identifiers_that_floating_point_may_have_rounded_are_refused(values: Any) -> None:
    with pytest.raises(DataError, match="column id holds floating-point numbers too large to be exact, such as"):
        written(values).ids()


OTHER = {
    "several a row": np.zeros((2, 2)),
    "records": np.zeros(2, [("a", "f4")]),
    "complex numbers": np.zeros(2, complex),
    "objects": np.array([object()]),
    "lists": pa.chunked_array([[[1], [2]]]),
}


@pytest.mark.parametrize("values", OTHER.values(), ids=OTHER)
def test_a_column_of_something_else_is_refused_by_name(values: Any) -> None:
    with pytest.raises(DataError, match=r"t\.fits: column id holds something else than a text, a number or a truth"):
        written(values)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["1", "0", ""], [1, 0, -1]),
        (["True", "FALSE", "true"], [1, 0, 1]),
        (["T", "f"], [1, 0]),
        (["1.0", "0.0", "1."], [1, 0, 1]),
        (np.array([1.0, np.nan, 0]), [1, -1, 0]),
        (np.array([True, False]), [1, 0]),
        (np.array([1, 0], ">i2"), [1, 0]),
    ],
)
def test_labels_are_told_in_several_ways(values: Any, expected: list[int]) -> None:
    ids = [str(number) for number in range(len(expected))]
    assert column(Path("t"), "is_lens", values).labels(ids).tolist() == expected
    other = [{0: 1, 1: 0}.get(each, each) for each in expected]
    for name in ("No_Source", "no_source ", "# no_source", "no source", "no_source [flag]"):
        assert column(Path("t"), name, values).labels(ids).tolist() == other


@pytest.mark.parametrize("value", ["-1", "2", "lens", "nonlens", "0.5", "yes"])
def test_a_label_that_may_mean_another_thing_is_refused(value: str) -> None:
    with pytest.raises(DataError, match=f"t: row 2: is_lens '{value}' of object b \\(allowed: 0, 1, false, true"):
        column(Path("t"), "is_lens", ["1", value]).labels(["a", "b"])


def test_numbers_are_those_of_pandas(tmp_path: Path) -> None:
    numbers = np.random.default_rng(0).normal(0, 1e-9, 200)
    pandas.DataFrame({"n": numbers, "word": "x"}).to_csv(tmp_path / "t.csv")
    found, words = read(tmp_path / "t.csv", "n", "word")
    np.testing.assert_array_equal(found.numbers([]), numbers)
    assert np.isnan(words.numbers_among_words()).all()
    with pytest.raises(DataError, match=r"t.csv:2: word 'x' of object 5 is not a number"):
        words.numbers(["5"] * 200)
    assert np.isnan(written(["1_000"]).numbers_among_words()).all()


def test_zeros_in_front_do_not_count_unless_they_tell_two_apart() -> None:
    assert canonical(["007", "08", "x01", "0", "٣"]) == ["7", "8", "x01", "0", "٣"]
    assert canonical(["007", "7", "08"]) == ["007", "7", "8"]


def test_one_catalogue_of_hsc_reads_the_same_in_its_five_formats(real: Path) -> None:
    expected = pandas.read_csv(real / "hsc-stars" / "star_cat_correct.astropy.csv")
    files = sorted((real / "hsc-stars").glob("star_cat_correct.*"))
    assert len(files) == 5
    for file in files:
        ids, ra, dec, names = read(file, "object_id", "ira", "idec", "star_filename")
        assert ids.ids() == expected["# object_id"].astype(str).tolist()
        np.testing.assert_array_equal(positions(ra, dec), [expected["ira"], expected["idec"]])
        assert names.texts() == expected["star_filename"].tolist()


def test_the_known_lenses_have_their_places(real: Path) -> None:
    expected = pandas.read_csv(real / "known-lenses" / "catalog.csv")
    found = positions(*read(real / "known-lenses" / "catalog.csv", "ra", "dec"))
    np.testing.assert_allclose(found, [expected["RA [deg]"], expected["DEC [deg]"]])
