from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas
import pytest

from orchestrator.data.catalogue import Catalogue, read_labels
from orchestrator.data.challenge import GROUND, SPACE, TRAINING_KEY
from orchestrator.errors import DataError

LABELS = {100000: 1, 100001: 0, 100002: 1}

KEYS = {
    "plain": b"ID,is_lens,Einstein_area\n100000,1,6.04E-10\n100001,0,4.70E-11\n100002,1,7.18E-11\n",
    "CRLF": b"ID,is_lens,Einstein_area\r\n100000,1,6.04E-10\r\n100001,0,4.70E-11\r\n100002,1,7.18E-11\r\n",
    "quoted header, no final newline": (
        b'"ID","is_lens","Einstein_area"\n100000,1,6.04e-10\n100001,0,4.7e-11\n100002,1,7.18e-11'
    ),
    "byte order mark": (
        b"\xef\xbb\xbfID,is_lens,Einstein_area\n100000,1,6.04E-10\n100001,0,4.70E-11\n100002,1,7.18E-11\n"
    ),
    "spaces, empty lines": (
        b"ID, is_lens, Einstein_area\n\n100000, 1, 6.04E-10\n100001, 0,4.7E-11 \n\n100002,1,7.18E-11\n\n"
    ),
    "quoted cells": b'"ID","is_lens","Einstein_area"\n"100000","1",6.04E-10\n100001,0,"4.7E-11"\n100002,1,7.18E-11',
    "tabs": b"ID\tis_lens\tEinstein_area\n100000\t1\t6.04E-10\n100001\t0\t4.70E-11\n100002\t1\t7.18E-11\n",
    "semicolons": b"ID;is_lens;Einstein_area\n100000;1;6.04E-10\n100001;0;4.70E-11\n100002;1;7.18E-11\n",
    "spaces between": b"ID is_lens   Einstein_area\n100000 1     6.04E-10\n100001 0  4.70E-11\n100002 1 7.18E-11\n",
    "CR": b"ID,is_lens,Einstein_area\r100000,1,6.04E-10\r100001,0,4.70E-11\r100002,1,7.18E-11",
    "UTF-16, as Excel has it": (
        "ID\tis_lens\tEinstein_area\r\n100000\t1\t6.04E-10\r\n100001\t0\t4.7E-11\r\n100002\t1\t7.18E-11".encode(
            "utf-16"
        )
    ),
    "the index of pandas": b",ID,is_lens,Einstein_area\n0,100000,1,6.04E-10\n1,100001,0,4.7E-11\n2,100002,1,7.18E-11\n",
    "booleans": b"ID,is_lens,Einstein_area\n100000,True,6.04E-10\n100001,FALSE,4.7E-11\n100002,true,7.18E-11\n",
    "floating point": b"ID,is_lens,Einstein_area\n100000.0,1.0,6.04E-10\n100001.0,0.0,4.7E-11\n100002.0,1.0,7.18E-11\n",
    "zeros in front": b"id,Is_Lens,Einstein_area\n00100000,1,6.04E-10\n00100001,0,4.7E-11\n00100002,1,7.18E-11\n",
    "a cell over two lines": (
        b'ID,is_lens,note,Einstein_area\n100000,1,"an arc,\n# or two",6.04E-10\n100001,0,,4.7E-11\n100002,1,,7.18E-11\n'
    ),
    "a commented header": b"# it\n# ID,is_lens,Einstein_area\n100000,1,6.04E-10\n100001,0,4.7E-11\n100002,1,7.18E-11\n",
    "gzip": gzip.compress(b"ID,is_lens,Einstein_area\n100000,1,6.04E-10\n100001,0,4.7E-11\n100002,1,7.18E-11\n"),
    "other columns, other order": (
        b"Einstein_area,note,is_lens,ID\n6.04E-10,a ring,1,100000\n4.70E-11,,0,100001\n7.18E-11,,1,100002\n"
    ),
}

CATALOGUES = {
    "comments": b"# the test set\n# no_source: 0 is a lens\nID,no_source\n100000,0\n100001,1\n# and more\n100002,0\n",
    "quoted, CRLF, no final newline": b'# x\r\n"ID","no_source"\r\n100000,0\r\n100001,1\r\n100002,0',
    "many columns": b"#\nn,ID,Einstein_area,no_source\n1,100000,6.04E-10,0\n2,100001,4.7E-11,1\n3,100002,7.18E-11,0\n",
    "byte order mark before a comment": b"\xef\xbb\xbf# x\nID,no_source\n100000,0\n100001,1\n100002,0\n",
}

BAD = {
    "empty": ("", r"key: no column ID and is_lens, or ID and no_source \(its columns: none\)"),
    "comments alone": ("# ID,is_lens\n", r"its columns: none"),
    "no identifiers": ("object,is_lens\n1,0\n", r"no column ID .*its columns: object, is_lens"),
    "no labels": ("ID,lens\n1,0\n", r"no column ID and is_lens, or ID and no_source .*its columns: ID, lens"),
    "a label that is none": (
        "ID,is_lens\n7,0\n8,2\n",
        r"key:3: is_lens '2' of object 8 \(allowed: 0, 1, false, true, f, t\)",
    ),
    "a label left out": ("ID,is_lens\n7,\n", r"key:2: is_lens '' of object 7"),
    "an identifier that is none": ("ID,is_lens\nabc,0\n", r"key:2: ID 'abc' is not a whole number"),
    "a negative identifier": ("ID,is_lens\n-7,0\n", r"key:2: ID '-7' is not a whole number"),
    "a label of another coding": ("ID,is_lens\n7,-1\n", r"key:2: is_lens '-1' of object 7 \(allowed: 0, 1"),
    "two identifiers of one object": ("ID,is_lens\n7,1\n007,1\n", r"key:3: ID '007' and '7' name one object"),
    "identifiers that were rounded": ("ID,is_lens\n1.2e+18,1\n", r"floating-point numbers too large to be exact"),
    "a quote without its end": ('ID,is_lens,note\n7,0,"arc\n8,1,\n', r"key:3: unexpected end of data"),
    "a short row": ("# x\n\nID,is_lens,n\n7,0,1\n8,0\n", r"key:5: 2 values where the header names 3"),
    "a long row": ("ID,is_lens\n7,0,1\n", r"key:2: 3 values where the header names 2"),
    "a cell without end": ("ID,is_lens\n7,0\n" + "8" * 200_000, r"key:3: field larger than field limit"),
    "two labels for one object": ("ID,is_lens\n7,0\n7,1\n", r"key:3: object 7 has the other label elsewhere"),
}


def read(root: Path, content: bytes, name: str = TRAINING_KEY) -> Catalogue:
    (root / name).write_bytes(content)
    return read_labels(root, SPACE)


@pytest.mark.parametrize("content", KEYS.values(), ids=KEYS)
def test_every_dialect_of_the_training_key_reads_the_same(tmp_path: Path, content: bytes) -> None:
    catalogue = read(tmp_path, content)
    assert catalogue.labels == LABELS
    assert catalogue.columns["Einstein_area"] == {100000: 6.04e-10, 100001: 4.7e-11, 100002: 7.18e-11}


@pytest.mark.parametrize("content", CATALOGUES.values(), ids=CATALOGUES)
def test_in_a_test_catalogue_no_source_0_is_a_lens(tmp_path: Path, content: bytes) -> None:
    assert read(tmp_path, content, SPACE.catalogue).labels == LABELS


@pytest.mark.parametrize(("content", "message"), BAD.values(), ids=BAD)
def test_broken_labels_name_file_line_and_what_is_allowed(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(DataError, match=message.replace("key:", rf"{TRAINING_KEY}:")) as caught:
        read(tmp_path, content.encode())
    assert str(caught.value).startswith(str(tmp_path / TRAINING_KEY))


def test_a_key_that_is_no_text_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"classifications\.csv: not a text file"):
        read(tmp_path, bytes(range(256)))


def test_a_key_without_permission_says_so(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    read(tmp_path, KEYS["plain"])
    (tmp_path / TRAINING_KEY).chmod(0)
    tmp_path.chmod(0o755)
    request.getfixturevalue("without_privileges")
    with pytest.raises(DataError, match="Permission denied"):
        read_labels(tmp_path, SPACE)


def test_truth_needs_identifiers_but_no_labels(tmp_path: Path) -> None:
    assert read(tmp_path, b"ID,theta_E\n7,1.5\n", "truth.csv") == Catalogue(
        {}, {"theta_E": {7: 1.5}}, (tmp_path / "truth.csv",)
    )
    with pytest.raises(DataError, match=r"truth\.csv: no column ID \(its columns: theta_E\)"):
        read(tmp_path, b"theta_E\n1\n", "truth.csv")


@pytest.mark.parametrize(("name", "imaging"), [("space", SPACE), ("ground", GROUND)])
def test_the_real_keys_read_as_pandas_reads_them(challenge1: Path, name: str, imaging: object) -> None:
    catalogue = read_labels(challenge1 / name, imaging)
    expected = pandas.read_csv(challenge1 / name / TRAINING_KEY, comment="#")
    assert catalogue.labels == dict(zip(expected["ID"], expected["is_lens"], strict=True))
    for column in expected.columns[2:]:
        values = catalogue.column(column, expected["ID"].to_numpy())
        np.testing.assert_array_equal(values, expected[column].to_numpy())


def test_labels_lie_in_the_root_or_in_any_data_folder(tmp_path: Path) -> None:
    for folder in (
        "Data_EuclidBig.0/Public",
        "Data_EuclidBig.10",
        "Data_EuclidBig.bak",
        "Data_KiDS_Big.0",
        "My data/Public",
    ):
        (tmp_path / folder).mkdir(parents=True)
    files = {
        "classifications.csv": "ID,is_lens\n1,1",
        "truth.csv": "ID,theta_E,kind\n1,1.5,ring\n2,0.5,arc",
        "Data_EuclidBig.0/Public/classifications.csv": "ID,is_lens,flux\n2,0,7",
        "Data_EuclidBig.10/euclidB_image_catalog.csv": "ID,no_source\n3,0\n1,0",
        "My data/classifications.csv": "ID,is_lens\n6,0",
        "Data_EuclidBig.bak/classifications.csv": "ID,is_lens\n4,1",
        "Data_KiDS_Big.0/classifications.csv": "ID,is_lens\n5,1",
    }
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    catalogue = read_labels(tmp_path, SPACE)
    assert catalogue.labels == {1: 1, 2: 0, 3: 1, 6: 0}
    assert catalogue.columns == {"theta_E": {1: 1.5, 2: 0.5}, "flux": {2: 7.0}}
    np.testing.assert_array_equal(catalogue.column("flux", np.array([1, 2, 3])), [np.nan, 7, np.nan])


def test_two_files_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    (tmp_path / SPACE.catalogue).write_text("ID,no_source\n1,1\n")
    with pytest.raises(DataError, match=r"euclidB_image_catalog.csv:2: object 1 has the other label elsewhere"):
        read(tmp_path, b"ID,is_lens\n1,1\n")


def test_a_set_without_labels_is_an_empty_catalogue(tmp_path: Path) -> None:
    assert read_labels(tmp_path, SPACE) == Catalogue({}, {}, ())
