"""Valid files with something changed: each is read as astropy reads it, or refused by an error of ours."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from orchestrator.data import catalogue, scorelist, sources, uploads
from orchestrator.data.challenge import SPACE
from orchestrator.data.fits import frames
from orchestrator.errors import DataError, OrchestratorError, UnreadableCutout
from tests.torture import corpus, matrix

CASES = int(os.environ.get("TORTURE_CASES", "50"))
"""Of each test; `make torture` asks for thousands."""

many = settings(
    max_examples=CASES, deadline=None, database=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip

CONTENTS = {
    name: case.content
    for name, case in corpus.fits_files().items()
    if isinstance(case.content, bytes) and len(case.content) < 100_000 and case.expected == corpus.READ
}
FILES = sorted(CONTENTS)

Change = Callable[[bytes], bytes]


@st.composite
def changes(draw: st.DrawFn, unit: int = corpus.BLOCK) -> Change:
    """Flip a bit, cut, put another byte or piece in, or take out, repeat or exchange units such as blocks or cards."""
    kind = draw(st.sampled_from(["flip", "byte", "cut", "take out", "repeat", "exchange", "put in", "number"]))
    where, other = draw(st.floats(0, 1, exclude_max=True)), draw(st.floats(0, 1, exclude_max=True))
    early = draw(st.booleans())  # most of a file is data, and most of its faults are in the header
    piece = draw(
        st.sampled_from([b"\0", b"END".ljust(80), b"99999999999", b"-1", b"NaN", b"\xff\xfe", b"'", b'"', b"\n"])
    )

    def change(content: bytes) -> bytes:
        size = max(1, min(len(content), 800 if early else len(content)))
        at, bit = int(where * size), int(other * 8)
        start, next_ = at // unit * unit, int(other * size) // unit * unit
        match kind:
            case "flip":
                return content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :] if content else b""
            case "byte":
                return content[:at] + bytes([int(other * 256)]) + content[at + 1 :]
            case "cut":
                return content[:at]
            case "take out":
                return content[:start] + content[start + unit :]
            case "repeat":
                return content[: start + unit] + content[start:]
            case "exchange":
                low, high = sorted((start, next_))
                one, two = content[low : low + unit], content[high : high + unit]
                return (
                    content[:low] + two + content[low + unit : high] + one + content[high + unit :]
                    if low < high
                    else content
                )
            case "put in":
                return content[:at] + piece + content[at:]
            case _:
                return content[:at] + piece + content[at + len(piece) :]

    return change


def one_line(error: OrchestratorError, name: str = "") -> None:
    assert name in str(error)
    assert "\n" not in str(error)
    assert len(str(error)) < 2000


def as_it_lies(content: bytes) -> NDArray[np.float32]:
    """Floats in the block behind the first END."""
    if content.startswith(b"\x1f\x8b"):
        content = gzip.decompress(content)
    cards = [content[start : start + 80] for start in range(0, len(content), 80)]
    begin = -(-(cards.index(b"END".ljust(80)) + 1) * 80 // corpus.BLOCK) * corpus.BLOCK
    return np.frombuffer(content, ">f4", 101 * 101, begin).astype(np.float32)


def all_of(changed: list[Change], content: bytes) -> bytes:
    for change in changed:
        content = change(content)
    return content


@many
@given(name=st.sampled_from(FILES), changed=st.lists(changes(80) | changes(), min_size=1, max_size=3))
def test_a_changed_fits_file_is_read_as_astropy_does_or_refused(name: str, changed: list[Change]) -> None:
    content = all_of(changed, CONTENTS[name])
    try:
        (found,) = frames(content, "a file")
    except UnreadableCutout as error:
        one_line(error, "a file: ")
        return
    try:
        expected = matrix.by_astropy(content)
    except (OSError, ValueError, TypeError, KeyError):  # a card that says nothing of the pixels is broken
        expected = as_it_lies(content)
    assert found.image.shape == (101, 101)
    same = np.isclose(found.image, expected.reshape(101, 101), rtol=1e-6, atol=0, equal_nan=True)
    assert same.all()


TABLES = {
    name: case.content
    for name, case in corpus.tables("one.fits", "two.fits").items()
    if case.expected == corpus.READ and isinstance(case.content, bytes)
}


@many
@given(name=st.sampled_from(sorted(TABLES)), changed=st.lists(changes(8), min_size=1, max_size=3))
def test_a_changed_catalogue_is_read_row_by_row_or_refused(name: str, changed: list[Change], tmp_path: Path) -> None:
    (tmp_path / "one.fits").write_bytes(corpus.GOOD)
    path = tmp_path / name
    path.write_bytes(all_of(changed, TABLES[name]))
    try:
        source = sources.find(path, SPACE)
        piece = source.read(0, len(source))
    except DataError as error:
        one_line(error, name)
        return
    for row, good in zip(piece.rows, piece.good, strict=True):
        assert good != bool(row.reason)
        assert "\n" not in row.reason
    assert all(np.array_equal(flux[0], corpus.FLUX) for flux in piece.flux)


@many
@given(changed=st.lists(changes(8), min_size=1, max_size=3), key=st.booleans())
def test_a_changed_key_or_list_of_scores_is_read_or_refused(changed: list[Change], key: bool, tmp_path: Path) -> None:
    root = tmp_path / "set"
    (root / "Data_EuclidBig.0").mkdir(parents=True, exist_ok=True)
    path = root / "classifications.csv"
    text = b"ID,is_lens\n100001,1\n100002,0\n" if key else b"ID,is_lens,probs\n1,1,0.25\n2,0,0.5\n"
    path.write_bytes(all_of(changed, text))
    try:
        if key:
            assert set(catalogue.read_labels(root, SPACE).labels.values()) <= {0, 1}
        else:
            read = scorelist.read(path, "probs", "is_lens")
            assert len(read.ids) == len(read.labels) == len(read.scores)
            assert set(read.labels.tolist()) <= {0, 1}
    except DataError as error:
        one_line(error, str(path))


ARRAYS = corpus.arrays()


@many
@given(name=st.sampled_from(sorted(ARRAYS)), changed=st.lists(changes(16), min_size=1, max_size=3))
def test_a_changed_array_is_read_or_refused(name: str, changed: list[Change]) -> None:
    content = ARRAYS[name].content
    assert isinstance(content, bytes)
    content = all_of(changed, content[:200_000])
    for read in (lambda: uploads.from_arrays(content, SPACE, 10**6), lambda: uploads.from_json(content, SPACE)):
        sent: list[Any] = []
        try:
            sent = read()
        except DataError as error:
            one_line(error)
        for each in sent:
            assert (each.flux is None) != (each.bad is None)
            assert each.flux is None or each.flux.shape == (1, 101, 101)


@many
@given(
    name=st.text(max_size=60), field=st.sampled_from(["file", "bands", "x"]), changed=st.lists(changes(), max_size=1)
)
def test_a_changed_upload_of_any_name_is_read_or_refused(name: str, field: str, changed: list[Change]) -> None:
    content = all_of(changed, corpus.GOOD)
    try:
        (sent,) = uploads.from_fits([uploads.Upload(field, name, content)], SPACE, 10**9)
    except DataError as error:
        one_line(error, "field")
    else:
        assert sent.id == name
        assert (sent.flux is None) != (sent.bad is None)
