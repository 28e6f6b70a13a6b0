"""Tables are told by their content, and columns by their names."""

from __future__ import annotations

import gzip
import os
import socket
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table as AstropyTable

from orchestrator.data.tables import Table, kind_of
from orchestrator.errors import DataError


def columns(path: Path, *names: str) -> list[list[str | None]]:
    table = Table.open(path)
    return [each.texts() for each in table.read([table.place(name) for name in names])]


ROWS = [["1", "2"], ["a b", "c,d"]]

DIALECTS = {
    "plain": 'id,path\n1,a b\n2,"c,d"\n',
    "spaces in the header": 'id , path\n1 , a b\n2, "c,d"\n',
    "a byte order mark": '\ufeffid,path\n1,a b\n2,"c,d"\n',
    "lines that end in CR": 'id,path\r1,a b\r2,"c,d"\r',
    "lines that end in CR and LF": 'id,path\r\n1,a b\r\n2,"c,d"\r\n',
    "semicolons": "id;path\n1;a b\n2;c,d",
    "tabs": "id\tpath\n1\ta b\n2\tc,d",
    "Excel's word on semicolons": "sep=;\r\nid;path\r\n1;a b\r\n2;c,d\r\n",
    "bars": "id|path\n1|a b\n2|c,d",
    "spaces": 'id    path\n1   "a b"\n  2 c,d  \n',
    "a header in a comment": '# of a survey\n#id,path\n1,a b\n2,"c,d"\n',
    "a comment among the rows": 'id,path\n# one\n1,a b\n\n  # two, three\n2,"c,d"\n',
    "quotes everywhere": '"id","path"\n"1","a b"\n"2","c,d"\n',
    "a cell over two lines": 'note,id,path\n"x\n# y",1,a b\n"""z""\n\n",2,"c,d"\n',
    "the index of pandas": ',id,path\n0,1,a b\n1,2,"c,d"\n',
    "other case": 'Id,PATH\n1,a b\n2,"c,d"\n',
    "a # before the first name": '"# id",path\n1,a b\n2,"c,d"\n',
}


@pytest.mark.parametrize("text", DIALECTS.values(), ids=DIALECTS)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_every_dialect_reads_the_same(text: str, packed: bool, tmp_path: Path) -> None:
    content = text.encode()
    (tmp_path / "t.csv").write_bytes(gzip.compress(content) if packed else content)
    assert columns(tmp_path / "t.csv", "id", "path") == ROWS


VIZIER = """\
#
#   VizieR Astronomical Server vizier.cds.unistra.fr
#Name: J/ApJ/777/97/lenses
#Column\t_RAJ2000\t(F10.6)\tRight ascension (FK5, Equinox=J2000.0) (computed by VizieR)\t[ucd=pos.eq.ra]

_RAJ2000\t_DEJ2000\tRAJ2000\tDEJ2000\tID\tzl
deg\tdeg\t"h:m:s"\t"d:m:s"\t \t\x20
----------\t----------\t-----------\t-----------\t-----\t-
150.116250\t-00.212667\t10 00 27.9\t-00 12 45.6\t1\t0.5
010.000000\t+01.000000\t00 40 00.0\t+01 00 00.0\t2\t\x20

#END#
"""


def test_units_and_the_line_of_dashes_below_the_names_are_no_rows(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text(VIZIER)
    table = Table.open(tmp_path / "t.tsv")
    ids, ra, dec, sexagesimal, redshift = table.read(
        [table.place(name) for name in ("ID", "_RAJ2000", "_dej2000", "RAJ2000", "zl")]
    )
    assert (ids.texts(), redshift.texts()) == (["1", "2"], ["0.5", None])
    assert (ra.unit, dec.unit, sexagesimal.unit, ids.unit) == ("deg", "deg", "h:m:s", "")
    np.testing.assert_allclose(ra.degrees(hours=True), [150.11625, 10])
    np.testing.assert_allclose(sexagesimal.degrees(hours=True), [150.11625, 10])
    assert ids.place(1) == f"{tmp_path}/t.tsv:10"
    (tmp_path / "t.tsv").write_text(VIZIER.replace("deg\tdeg", "mag\trad", 1))
    with pytest.raises(DataError, match="column _RAJ2000 is in 'mag', which is no angle"):
        Table.open(tmp_path / "t.tsv").read([0])[0].degrees(hours=True)
    (tmp_path / "t.csv").write_text("id  path\n--- -----\n1   a.fits\n")
    assert columns(tmp_path / "t.csv", "id", "path") == [["1"], ["a.fits"]]
    (tmp_path / "t.csv").write_text("id,path\n-,--\n1,a.fits\n")  # of what is unknown, and no line
    assert columns(tmp_path / "t.csv", "id", "path") == [["-", "1"], ["--", "a.fits"]]


def test_a_table_of_one_column_may_have_spaces_and_commas_in_its_cells(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('path \nMy Drive/a.fits\n"b, c;d.fits"\n')
    assert columns(tmp_path / "t.csv", "path") == [["My Drive/a.fits", "b, c;d.fits"]]


NAMES = {
    "the same": ("ID,id\n1,2\n", ["2"]),
    "another case": ("ID,name\n1,2\n", ["1"]),
    "a unit behind it": ("name,id [deg]\n1,2\n", ["2"]),
    "two that differ by case": ("ID,Id\n1,2\n", "2 columns go by the name id: 'ID', 'Id'"),
    "two that are the same": ("id,id\n1,1\n", "2 columns go by the name id: 'id', 'id'"),
    "one over two lines": ('id,"I\nD"\n1,2\n', ["1"]),
    "none, among names over two lines": ('"a\nb"\n1\n', r"no column 'id' \(allowed: a\\nb\)"),
    "none": ("idx\n1\n", r"no column 'id': did you mean 'idx'\? \(allowed: idx\)"),
}


@pytest.mark.parametrize(("text", "expected"), NAMES.values(), ids=NAMES)
def test_a_column_is_found_by_its_name(text: str, expected: str | list[str], tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(text)
    if isinstance(expected, list):
        assert columns(tmp_path / "t.csv", "id") == [expected]
    else:
        with pytest.raises(DataError, match=expected):
            columns(tmp_path / "t.csv", "id")


def test_space_within_a_name_is_as_good_as_an_underscore(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("name, Object  ID \n1,2\n")
    assert columns(tmp_path / "t.csv", "object_id") == columns(tmp_path / "t.csv", "OBJECT ID") == [["2"]]


def test_content_counts_where_the_name_says_something_else(tmp_path: Path) -> None:
    table = AstropyTable({"id": [1, 2]})
    table.write(tmp_path / "t.parquet")
    (tmp_path / "t.parquet").rename(tmp_path / "parquet.csv")
    table.write(tmp_path / "fits.csv", format="fits")
    table.write(tmp_path / "votable.txt", format="votable")
    for path in tmp_path.iterdir():
        assert columns(path, "id") == [["1", "2"]]
    (tmp_path / "text.fits").write_text("id\n1\n")
    with pytest.raises(DataError, match=r"text\.fits: not a FITS file, as its name says"):
        Table.open(tmp_path / "text.fits")


BAD = {
    "a short row": (b"a,b\n1\n", "t.csv:2: 1 values where the header names 2"),
    "a quote without its end": (b'a,b\n1,"2\n3,4\n', "t.csv:3: unexpected end of data"),
    "a long cell": (b"a,b\n1," + b"x" * 200_000, "t.csv:2: field larger"),
    "a long line": (b"a,b\n" + b"1," * (1 << 22), "t.csv:2: a line of more than 4,194,304 characters"),
    "another encoding": ("a,b\n1,lens stämps".encode("latin-1"), "not a text file in UTF-8"),
    "a character NUL": (b"a,b\n1,\0\n", "t.csv:2: a character NUL: not a text file in UTF-8"),
    "UTF-16 without its mark": ("a,b\n1,2\n".encode("utf-16-le"), "t.csv:1: a character NUL: not a text file"),
    "gzip that was cut off": (gzip.compress(b"a,b\n1,2\n" * 99)[:-9], "not a readable table"),
    "gzip that is none": (b"\x1f\x8b and text", "not a readable table"),
    "no Parquet": (b"PAR1 and text", "not a readable Parquet file"),
    "no VOTable": (b"<?xml version='1.0'?><p>Not found</p>", "not a readable VOTable"),
    "a VOTable that fetches": (
        b'<VOTABLE><RESOURCE><TABLE><DATA><BINARY><STREAM  encoding="x>" href="file:///etc/passwd"/>',
        "not a readable VOTable .its data are to be fetched from elsewhere",
    ),
    "a VOTable that fetches by default": (
        b'<?xml version="1.0"?><!DOCTYPE V [<!ATTLIST STREAM href CDATA "file:///etc/passwd">]><VOTABLE/>',
        "fetched from elsewhere",
    ),
    "no ECSV": (b"# %ECSV 1.0\n# ---\n# datatype: {\n", "not a readable ECSV "),
    "no FITS": (b"SIMPLE  = and text", "not a readable FITS table|holds no table"),
    "HDF5": (b"\x89HDF\r\n\x1a\n", "an HDF5 file .allowed: CSV"),
}


@pytest.mark.parametrize(("content", "told"), BAD.values(), ids=BAD)
@pytest.mark.filterwarnings("ignore")
def test_what_cannot_be_read_is_refused_in_one_line(content: bytes, told: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(DataError, match=told) as caught:
        columns(tmp_path / "t.csv", *"ab")
    assert "\n" not in str(caught.value)
    assert "t.csv" in str(caught.value)


def test_a_column_of_lists_is_refused_only_where_it_is_wanted(tmp_path: Path) -> None:
    AstropyTable({"id": [1, 2], "spectrum": np.zeros((2, 3))}).write(tmp_path / "t.fits")
    assert columns(tmp_path / "t.fits", "id") == [["1", "2"]]
    with pytest.raises(DataError, match="column spectrum holds something else"):
        columns(tmp_path / "t.fits", "spectrum")


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "loop.csv").symlink_to(tmp_path / "loop.csv")
    (tmp_path / "folder.csv").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(tmp_path / "socket.csv"))
        told = {
            tmp_path / "pipe.csv": "a device, pipe or socket",
            tmp_path / "socket.csv": "a device, pipe or socket",
            Path("/dev/zero"): "a device, pipe or socket",
            tmp_path / "loop.csv": "Too many levels of symbolic links",
            tmp_path / "folder.csv": "Is a directory",
            tmp_path / "gone.csv": "No such file",
            tmp_path / "nul\0.csv": "embedded null byte",
            tmp_path / ("long" * 100): "File name too long",
        }
        for path, reason in told.items():
            with pytest.raises(DataError, match=reason):
                kind_of(path)
