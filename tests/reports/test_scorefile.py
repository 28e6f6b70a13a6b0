"""Scores of very many objects: ranked as by an oracle, in a file or a folder, with little in memory."""

from __future__ import annotations

import contextlib
import shutil
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet
import pytest
from numpy.typing import NDArray
from scipy.stats import rankdata

from orchestrator.data import scorelist
from orchestrator.errors import DataError
from orchestrator.reports import scorefile
from orchestrator.reports.scorefile import Parts, best
from tests.faults import Killed, watching

COUNT = 634
SPECIAL = np.array(
    [0.0, -0.0, np.inf, -np.inf, np.nan, -np.nan, 1e-45, -1e-45, 3.4e38, -3.4e38, 1.0, np.nextafter(np.float32(1), 2)],
    np.float32,
)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of 50 objects, and four of them a file."""
    monkeypatch.setattr(scorefile, "PART", 50)
    monkeypatch.setattr(scorefile, "SHARD", 4)


def logits() -> NDArray[np.float32]:
    """Ties, what is no number, and all that is odd among numbers."""
    rng = np.random.default_rng(0)
    found = rng.normal(0, 3, COUNT).astype(np.float32).round(1)
    found[rng.permutation(COUNT)[: 10 * len(SPECIAL)]] = np.tile(SPECIAL, 10)
    return found


def parts(out: Path, scores: NDArray[np.float32], many: bool, state: str = "same") -> Parts:
    return Parts(out, {"model": "finder/1"}, len(scores), lambda start, stop: f"{state} {start} {stop}", many)


def columns(scores: NDArray[np.float32], rows: range) -> dict[str, Any]:
    numbers = np.arange(rows.start, rows.stop)
    own = scores[rows.start : rows.stop]
    return {
        "id": [f"o{number}" for number in rows], "path": ["x"] * len(rows), "logit": own, "probability": own,
        "ra": numbers / 10, "dec": numbers / 100, "masked": numbers, "flags": [""] * len(rows),
        "reason": ["blank" if bad else None for bad in np.isnan(own)],
    }  # fmt: skip


def write(kept: Parts, scores: NDArray[np.float32], stop: int | None = None) -> None:
    for rows in kept.missing()[:stop]:
        kept.write(rows, columns(scores, rows), kept.state_of(rows))


def score(out: Path, scores: NDArray[np.float32], many: bool, *, overwrite: bool = False) -> scorefile.Summary:
    kept = parts(out, scores, many)
    with kept.opened(overwrite, False):
        write(kept, scores)
        return kept.finish()


@pytest.mark.parametrize("many", [False, True], ids=["file", "folder"])
def test_ranks_are_those_of_a_stable_sort_whatever_the_numbers_are(many: bool, tmp_path: Path) -> None:
    scores = logits()
    summary = score(tmp_path / "s.parquet", scores, many)
    table = pandas.read_parquet(tmp_path / "s.parquet")
    good = ~np.isnan(scores)
    np.testing.assert_array_equal(table.loc[good, "rank"], rankdata(-scores[good], method="ordinal"))
    assert table.loc[~good, "rank"].isna().all()
    assert (summary.objects, summary.bad, summary.reasons) == (COUNT, np.count_nonzero(~good), ("blank",) * 3)


def test_a_folder_holds_the_rows_of_the_file_and_opens_in_one_call(tmp_path: Path) -> None:
    scores = logits()
    score(tmp_path / "one.parquet", scores, many=False)
    score(tmp_path / "many", scores, many=True)
    one = pandas.read_parquet(tmp_path / "one.parquet")
    pandas.testing.assert_frame_equal(pyarrow.dataset.dataset(tmp_path / "many").to_table().to_pandas(), one)
    pandas.testing.assert_frame_equal(pandas.read_parquet(tmp_path / "many"), one)
    names = sorted(each.name for each in (tmp_path / "many").iterdir())
    assert names == [f"scores-{number:05d}.parquet" for number in range(4)]  # 634 objects, 200 a file
    rows = [pyarrow.parquet.read_metadata(tmp_path / "many" / name).num_rows for name in names]
    assert rows == [200] * 3 + [34]
    assert best(tmp_path / "many", 40) == best(tmp_path / "one.parquet", 40)
    assert [each["rank"] for each in best(tmp_path / "many", 40)] == list(range(1, 41))
    assert sorted(each.name for each in tmp_path.iterdir()) == ["many", "one.parquet"]


def test_scores_in_a_folder_are_measured_as_those_in_a_file(tmp_path: Path) -> None:
    scores = logits()
    score(tmp_path / "one.parquet", scores, many=False)
    score(tmp_path / "many", scores, many=True)
    (tmp_path / "key.csv").write_text("ID,is_lens\n" + "".join(f"o{n},{n % 3 % 2}\n" for n in range(COUNT)))
    one, many = (scorelist.read(tmp_path / name, "logit", key=tmp_path / "key.csv") for name in ("one.parquet", "many"))
    assert many.ids == one.ids
    np.testing.assert_array_equal(many.scores, one.scores)
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="none: a folder without a Parquet file in it"):
        scorelist.read(tmp_path / "none", "logit")
    other = tmp_path / "many" / "t.parquet"
    for columns_of_it, told in (
        ({"id": ["a"]}, r"t\.parquet: has other columns than .*scores-00000\.parquet beside it"),
        ({key: ["1"] for key in pandas.read_parquet(tmp_path / "one.parquet")}, "many: files in which a column"),
    ):
        pyarrow.parquet.write_table(pa.table(columns_of_it), other)
        with pytest.raises(DataError, match=told):
            scorelist.read(tmp_path / "many", "logit")


@pytest.mark.parametrize("many", [False, True], ids=["file", "folder"])
def test_what_was_broken_off_and_damaged_ends_as_what_was_not(many: bool, tmp_path: Path) -> None:
    scores = logits()
    score(tmp_path / "whole.parquet", scores, many)
    cut = tmp_path / "cut.parquet"
    for stop in (3, 9, 0):
        kept = parts(cut, scores, many)
        with kept.opened(False, False):
            write(kept, scores, stop)
    first, second, *_ = sorted(kept.folder.glob("*.parquet"))
    first.write_bytes(first.read_bytes()[:100])
    second.unlink()
    with kept.opened(False, False):
        assert [rows.start for rows in kept.missing()[:3]] == [0, 50, 600]
        write(kept, scores)
        kept.finish()
    read = [sorted(each.rglob("*.parquet")) or [each] for each in (cut, tmp_path / "whole.parquet")]
    assert [each.read_bytes() for each in read[0]] == [each.read_bytes() for each in read[1]]
    with parts(cut, scores, many).opened(False, resume=True) as begun:
        assert not begun
    with (
        pytest.raises(DataError, match="was made with another state of the files"),
        parts(cut, scores, many, "other").opened(False, resume=True),
    ):
        pass


def test_what_was_begun_for_a_file_goes_on_as_a_folder(tmp_path: Path) -> None:
    scores = logits()
    kept = parts(tmp_path / "s.parquet", scores, many=False)
    with kept.opened(False, False):
        write(kept, scores, 9)
    kept = parts(tmp_path / "s.parquet", scores, many=True)
    with kept.opened(False, False):
        assert len(kept.missing()) == 13 - 9
        write(kept, scores)
        kept.finish()
    assert pyarrow.dataset.dataset(tmp_path / "s.parquet").count_rows() == COUNT


def test_a_folder_of_scores_is_replaced_when_asked_and_no_other_folder_ever(tmp_path: Path) -> None:
    scores, out = logits(), tmp_path / "scores"
    out.mkdir()  # empty, it is not in the way
    score(out, scores, many=True)
    with pytest.raises(DataError, match="scores: is there already; --overwrite replaces it"):
        score(out, scores, many=True)
    score(out, scores[:60], many=True, overwrite=True)
    assert pyarrow.dataset.dataset(out).count_rows() == 60
    (out / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match=r"scores: holds something else than scores, notes\.txt"):
        score(out, scores, many=True, overwrite=True)
    assert (out / "notes.txt").read_text() == "mine"
    (tmp_path / "file").touch()
    for path, many, told in (
        (tmp_path / "file", True, "file/: .*file is a file"),
        (Path(), True, "no name of a folder"),
        (tmp_path / "scores", False, r"no kind of file '' \(allowed: \.parquet, \.pq, \.csv, NAME/ for a folder\)"),
    ):
        with pytest.raises(DataError, match=told):
            score(path, scores, many=many, overwrite=True)
    score(tmp_path / "s.parquet", scores, many=True)
    with pytest.raises(DataError, match=r"s\.parquet: a folder \(one of scores is called .*s\.parquet/\)"):
        score(tmp_path / "s.parquet", scores, many=False, overwrite=True)


@pytest.mark.slow
def test_wherever_the_end_is_cut_off_a_folder_is_whole_or_comes_with_the_next_command(tmp_path: Path) -> None:
    scores, out = logits()[:210], tmp_path / "scores"

    def content() -> dict[str, bytes]:
        return {each.name: each.read_bytes() for each in out.iterdir()} if out.exists() else {}

    def begun() -> Parts:
        """The scores of before are there, and all parts of those that replace them."""
        shutil.rmtree(out, ignore_errors=True)
        score(out, -scores, many=True)
        return parts(out, scores, many=True, state="new")

    kept = begun()
    before = content()
    with kept.opened(True, False), watching() as watch:
        write(kept, scores)
        watch.places.clear()
        kept.finish()
    after = content()
    assert len(watch.places) > 8
    for place in range(len(watch.places)):
        kept = begun()
        with kept.opened(True, False):
            write(kept, scores)
            with contextlib.suppress(Killed), watching(place, "killed"):
                kept.finish()
        assert content() in (before, after, {})
        with kept.opened(True, False):
            write(kept, scores)
            kept.finish()
        assert content() == after
        assert list(tmp_path.iterdir()) == [out]


@pytest.mark.slow
def test_ranking_and_the_best_take_12_bytes_an_object_and_one_part_of_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scorefile, "PART", 2_000)

    def peaks(count: int) -> tuple[int, int]:
        """Bytes of numpy and Python, and of Arrow."""
        scores = np.random.default_rng(0).normal(size=count).astype(np.float32)
        kept = parts(tmp_path / f"{count}", scores, many=True)
        with kept.opened(False, False):
            write(kept, scores)
            before = pa.default_memory_pool()
            pool = pa.proxy_memory_pool(before)
            pa.set_memory_pool(pool)
            tracemalloc.start()
            try:
                kept.finish()
                assert len(best(kept.out, 20)) == 20
                return tracemalloc.get_traced_memory()[1], pool.max_memory()
            finally:
                tracemalloc.stop()
                pa.set_memory_pool(before)

    (few, few_arrow), (many, many_arrow) = peaks(20_000), peaks(60_000)
    assert many - few < 14 * 40_000
    assert many_arrow < 1.1 * few_arrow
