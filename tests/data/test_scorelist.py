"""Scores of any finder, matched with their labels."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.data.scorelist import read
from orchestrator.errors import DataError

HEADER = "name,truth,p\n"


def test_scores_and_labels_of_one_file_are_read_and_what_lacks_one_is_named(tmp_path: Path) -> None:
    file = tmp_path / "scores.csv"
    file.write_text("# by hand\n" + HEADER + "a,1,0.25\nb,0,\nc,1,1e-300\na,1,0.2500001\nd,0,NaN\n")
    found = read(file, "p", "truth", identifier="name")
    assert found.labels.tolist() == [1, 1]
    assert found.scores.tolist() == [0.25, 1e-300]
    assert (found.unscored, found.unlabelled, found.repeated) == (("b", "d"), (), ("a",))


def test_labels_of_another_file_are_matched_by_identifier_whatever_the_order(tmp_path: Path) -> None:
    (tmp_path / "scores.csv").write_text("ID,logit\n3,-1\n1,2\n9,5\n")
    (tmp_path / "key.csv").write_text("\ufeff# test catalogue\nID,no_source\n1,0\n2,1\n3,1\n")
    found = read(tmp_path / "scores.csv", "logit", "no_source", key=tmp_path / "key.csv")
    assert dict(zip(found.scores.tolist(), found.labels.tolist(), strict=True)) == {-1.0: 0, 2.0: 1}
    assert (found.unscored, found.unlabelled) == (("2",), ("9",))


def test_parquet_keeps_every_digit(tmp_path: Path) -> None:
    scores = [0.1 + 0.2, 1 / 3, None]
    pq.write_table(pa.table({"ID": [7, 8, 9], "is_lens": [True, False, True], "logit": scores}), tmp_path / "s.parquet")
    found = read(tmp_path / "s.parquet", "logit", "is_lens")
    assert found.scores.tolist() == scores[:2]
    assert found.labels.tolist() == [1, 0]
    assert found.unscored == ("9",)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "an empty file"),
        ("name,truth,q\n", "no column 'p'.*allowed: name, truth, q"),
        (HEADER + "a,1\n", "2 values where the header names 3"),
        (HEADER + "a,2,0.5\n", "truth '2' of object a .*allowed: 0, 1"),
        (HEADER + "a,1,high\n", "p 'high' of object a is not a number"),
        (HEADER + "a,1,0.5\na,1,0.6\n", "object a has p 0.5 and 0.6"),
    ],
)
def test_a_file_that_is_wrong_is_named_with_what_is_wrong(tmp_path: Path, content: str, told: str) -> None:
    file = tmp_path / "scores.csv"
    file.write_text(content)
    with pytest.raises(DataError, match=rf"scores.csv:.*{told}"):
        read(file, "p", "truth", identifier="name")


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s.parquet").write_bytes(b"PAR1 not really")
    (tmp_path / "s.csv").write_bytes(b"\xff\xfe\x00\x81")
    for file in (tmp_path / "s.parquet", tmp_path / "s.csv", tmp_path / "nothing.csv"):
        with pytest.raises(DataError, match=str(file)):
            read(file, "p", "truth")


@pytest.mark.parametrize(
    ("here", "there"),
    [("100000,2\n100001,3", "100000.0,1\n100001.0,0"), ("00100000,2\n00100001,3", "100000,1\n100001,0")],
    ids=["floating point", "zeros in front"],
)
def test_identifiers_are_matched_however_a_program_writes_whole_numbers(tmp_path: Path, here: str, there: str) -> None:
    (tmp_path / "own.csv").write_text(f"id,logit\n{here}\n")
    (tmp_path / "key.csv").write_text(f"ID,is_lens\n{there}\n")
    found = read(tmp_path / "own.csv", "logit", key=tmp_path / "key.csv")
    assert (found.scores.tolist(), found.labels.tolist()) == ([2, 3], [1, 0])


def test_identifiers_that_a_file_tells_apart_stay_apart(tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text("ID,logit\n7,1\n007,2\n1.0,3\n1.00,4\n")
    (tmp_path / "key.csv").write_text("ID,is_lens\n007,1\n7,0\n1,1\n")
    found = read(tmp_path / "own.csv", "logit", key=tmp_path / "key.csv")
    assert dict(zip(found.ids, found.labels.tolist(), strict=True)) == {"7": 0, "007": 1}
    assert found.unlabelled == ("1.0", "1.00")


def test_a_key_goes_by_its_own_names_of_columns(tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text("name;Logit\n100000;-1.5\n100001;2\n100002;\n")
    (tmp_path / "key.csv").write_text("# the test set\nID,no_source\n100000,1\n100001,0\n100002,0\n100003,\n")
    found = read(tmp_path / "own.csv", "logit", key=tmp_path / "key.csv", identifier="name")
    assert (found.scores.tolist(), found.labels.tolist()) == ([-1.5, 2], [0, 1])
    assert (found.unscored, found.unlabelled) == (("100002",), ())


NOTHING = {
    "no common identifier": ("1,2", "a,1", "no object has a label in .*key.csv .*such as '1' here and 'a' there"),
    "no score": ("1,", "1,1", "not one object with a score and a label"),
    "no row": ("", "1,1", "own.csv: no row in it"),
    "no row in the key": ("1,2", "", "key.csv: no row in it"),
    "no identifier": (",2", "1,1", "own.csv:2: ID is empty"),
}


@pytest.mark.parametrize(("here", "there", "told"), NOTHING.values(), ids=NOTHING)
def test_nothing_to_measure_is_refused_with_the_reason(tmp_path: Path, here: str, there: str, told: str) -> None:
    (tmp_path / "own.csv").write_text(f"ID,logit\n{here}\n")
    (tmp_path / "key.csv").write_text(f"ID,is_lens\n{there}\n")
    with pytest.raises(DataError, match=told) as caught:
        read(tmp_path / "own.csv", "logit", key=tmp_path / "key.csv")
    assert "\n" not in str(caught.value)
