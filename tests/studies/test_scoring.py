"""Bulk scoring: each cutout gets the score it has alone, and the file is the same however often it was cut off."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pandas
import pyarrow.csv
import pyarrow.parquet
import pytest
import torch
from astropy.io import fits
from numpy.typing import NDArray
from scipy.stats import rankdata

import architectures
from orchestrator.data import scorelist, sources
from orchestrator.data.challenge import SPACE, TRAINING_KEY, scan
from orchestrator.data.fits import read_cutout
from orchestrator.errors import DataError, RecipeError, StudyError, TrackingError
from orchestrator.learning import openvino, pt2
from orchestrator.learning.finder import Finder, export, find
from orchestrator.reports import scorefile
from orchestrator.studies import scoring
from orchestrator.tracking.recorded import Model

CPU = torch.device("cpu")

Run = Callable[..., scorefile.Summary | None]


@pytest.fixture(scope="module")
def model() -> Model:
    torch.manual_seed(0)
    finder = Finder(architectures.create("lens_flow", bands=1), "zscale")
    return Model(finder, SPACE, "finder/1", "digest", {}, None)  # type: ignore[arg-type]


@pytest.fixture
def listed(tmp_path: Path, small_space: Path) -> Path:
    """A list of 1,000 cutouts, 200 of them five times, with a missing and a truncated one among them."""
    paths = [str(each.paths[0]) for each in scan(small_space).objects] * 5
    (tmp_path / "truncated.fits").write_bytes(Path(paths[0]).read_bytes()[:9000])
    paths[300], paths[777] = str(tmp_path / "gone.fits"), str(tmp_path / "truncated.fits")
    (tmp_path / "list.txt").write_text("\n".join(paths))
    return tmp_path / "list.txt"


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scorefile, "PART", 150)


@pytest.fixture
def run(model: Model, listed: Path) -> Run:
    """Score the list; `stop` breaks off after so many batches."""

    def score(out: Path, *, stop: int | None = None, settings: str = "", overwrite: bool = False, resume: bool = False):
        source = sources.find(listed, SPACE)
        kept = scoring.parts(model, source, CPU, out, {"hdu": settings})
        with kept.opened(overwrite, resume) as begun:
            if not begun:
                return None
            progress = scoring.score(model, source, CPU, kept)
            if stop is not None:
                list(islice(progress, stop))
                progress.close()
                return None
            assert list(progress)[-1] == 1000
            return kept.finish()

    return score


@pytest.mark.slow
def test_each_object_is_a_row_with_the_score_that_it_gets_alone(
    model: Model, run: Run, tmp_path: Path, listed: Path
) -> None:
    summary = run(tmp_path / "scores.parquet")
    assert summary is not None
    assert (summary.objects, summary.bad) == (1000, 2)
    assert ["gone.fits" in summary.reasons[0], "truncated.fits" in summary.reasons[1]] == [True, True]
    table = pyarrow.parquet.read_table(tmp_path / "scores.parquet").to_pandas()
    paths = listed.read_text().split()
    assert table["path"].tolist() == paths
    good = ~table["path"].isin([paths[300], paths[777]])
    assert (table["flags"] == "bad").tolist() == (~good).tolist()
    raw = np.stack([read_cutout([Path(path)]) for path in paths[:200]])
    alone = np.array([find(model.finder, image[None], CPU) for image in raw])[:, :, 0]
    expected = np.tile(alone, (5, 1))[good]
    np.testing.assert_allclose(table.loc[good, ["logit", "probability"]], expected, atol=1e-5)
    assert table.loc[~good, ["logit", "probability", "rank"]].isna().all(axis=None)
    np.testing.assert_array_equal(table.loc[good, "rank"], rankdata(-table.loc[good, "logit"], method="ordinal"))
    assert set(table["model"]) == {"finder/1"}
    assert not (tmp_path / "scores.parquet.parts").exists()


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
@pytest.mark.slow
def test_a_scoring_that_was_broken_off_goes_on_to_the_very_same_file(suffix: str, run: Run, tmp_path: Path) -> None:
    whole, cut = tmp_path / f"whole{suffix}", tmp_path / f"cut{suffix}"
    run(whole)
    for batches in (2, 4, 1, 7):
        run(cut, stop=batches)
        assert not cut.exists()
    first, *_ = sorted((tmp_path / f"cut{suffix}.parts").glob("*.parquet"))
    first.write_bytes(first.read_bytes()[:100])  # as a machine may leave it that loses its power
    run(cut)
    assert cut.read_bytes() == whole.read_bytes()


def test_csv_and_parquet_hold_the_same_and_the_best_are_found_in_both(run: Run, tmp_path: Path) -> None:
    run(tmp_path / "s.parquet")
    run(tmp_path / "s.csv")
    one = pyarrow.parquet.read_table(tmp_path / "s.parquet").to_pandas()
    other = pyarrow.csv.read_csv(tmp_path / "s.csv").to_pandas()
    assert list(one) == list(other)
    np.testing.assert_allclose(other[["logit", "rank"]], one[["logit", "rank"]].astype(float))
    best = scorefile.best(tmp_path / "s.parquet", 7)
    assert [each["rank"] for each in best] == list(range(1, 8))
    assert [each["path"] for each in best] == [one["path"][each["row"]] for each in best]
    assert [each["row"] for each in scorefile.best(tmp_path / "s.csv", 7)] == [each["row"] for each in best]


def test_the_page_of_the_best_shows_them_in_order_and_asks_for_nothing(
    model: Model, run: Run, tmp_path: Path, listed: Path
) -> None:
    out = tmp_path / "s.parquet"
    run(out)
    page = scoring.candidates(model, sources.find(listed, SPACE), out, 9)
    assert page.count("data:image/png;base64,") == 9
    names = [each["id"] for each in scorefile.best(out, 9)]
    places = [page.index(f"<b>{name}</b>") for name in dict.fromkeys(names)]
    assert places == sorted(places)
    assert "http" not in page


@pytest.mark.slow
def test_a_file_that_is_there_is_replaced_or_left_alone_as_told(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "scores.parquet"
    run(out)
    before = out.read_bytes()
    with pytest.raises(DataError, match="is there already; --overwrite replaces it"):
        run(out)
    assert run(out, resume=True) is None
    with pytest.raises(DataError, match="another hdu \\(, now 1\\); --overwrite begins anew"):
        run(out, resume=True, settings="1")
    assert out.read_bytes() == before
    assert run(out, overwrite=True) is not None
    assert out.read_bytes() == before


def test_what_was_begun_otherwise_is_not_gone_on_with(run: Run, tmp_path: Path, listed: Path) -> None:
    out = tmp_path / "scores.parquet"
    run(out, stop=4)
    with pytest.raises(DataError, match=r"scores.parquet.parts: was made with another hdu"):
        run(out, settings="1")
    listed.write_text("\n".join([*listed.read_text().split()[:-1], "another.fits"]))
    with pytest.raises(DataError, match="another digest of the data"):
        run(out)
    assert run(out, overwrite=True).bad == 3  # type: ignore[union-attr]


@pytest.mark.slow
def test_files_that_have_changed_are_not_taken_from_what_was_done_before(
    run: Run, tmp_path: Path, listed: Path
) -> None:
    paths = [tmp_path / f"{number}.fits" for number in range(2)]
    first, other, *_ = listed.read_text().split()
    for path in paths:
        path.write_bytes(Path(first).read_bytes())
    listed.write_text("\n".join([*map(str, paths), *listed.read_text().split()[2:]]))
    out = tmp_path / "scores.csv"
    run(out, stop=8)  # a part is of five batches
    begun = {each.name: each.stat().st_mtime_ns for each in (tmp_path / "scores.csv.parts").glob("*.parquet")}
    assert "00000000.parquet" in begun
    paths[1].write_bytes(Path(other).read_bytes())
    run(out)
    run(tmp_path / "anew.csv")
    assert out.read_bytes() == (tmp_path / "anew.csv").read_bytes()
    scores = pyarrow.csv.read_csv(out)["logit"].to_pylist()
    assert scores[0] != scores[1]
    assert run(out, resume=True) is None
    paths[0].unlink()
    with pytest.raises(DataError, match=r"scores\.csv: was made with another state of the files"):
        run(out, resume=True)


def test_a_csv_has_beside_it_what_it_was_made_of(run: Run, tmp_path: Path, listed: Path) -> None:
    out = tmp_path / "scores.csv"
    run(out)
    assert json.loads((tmp_path / "scores.csv.json").read_text())["model"] == "finder/1"
    assert run(out, resume=True) is None
    with pytest.raises(DataError, match="another hdu"):
        run(out, resume=True, settings="1")
    for torn in (b"", b"{", b"[1]"):
        (tmp_path / "scores.csv.json").write_bytes(torn)
        with pytest.raises(DataError, match=r"another model \(unknown, now finder/1\)"):
            run(out, resume=True)


def test_scores_are_measured_with_the_challenges_key(run: Run, tmp_path: Path, small_space: Path, listed: Path) -> None:
    listed.write_text("\n".join([*listed.read_text().split()[:200], "gone.fits"] + ["gone.fits"] * 799))
    run(tmp_path / "own.csv")
    run(tmp_path / "own.parquet")
    table = pandas.read_csv(tmp_path / "own.csv")[:200]
    key = pandas.read_csv(small_space / TRAINING_KEY).set_index("ID")["is_lens"]
    for name in ("own.csv", "own.parquet"):
        found = scorelist.read(tmp_path / name, "logit", key=small_space / TRAINING_KEY)
        assert found.ids == tuple(table["id"])
        np.testing.assert_allclose(found.scores, table["logit"], rtol=1e-6)
        assert found.labels.tolist() == key[table["id"].astype(int)].tolist()
        assert found.unlabelled == ("gone",)


@pytest.mark.slow
def test_a_damaged_part_is_named_and_scored_again(run: Run, tmp_path: Path) -> None:
    run(tmp_path / "whole.csv")
    run(tmp_path / "cut.csv", stop=99)
    part = tmp_path / "cut.csv.parts" / "00000150.parquet"
    logits = pyarrow.parquet.read_metadata(part).row_group(0).column(2)
    content = bytearray(part.read_bytes())
    content[logits.data_page_offset + logits.total_compressed_size // 2] ^= 0xFF  # the metadata at its end stay right
    part.write_bytes(content)
    with pytest.raises(DataError, match=r"00000150.parquet: was damaged .*; the same command scores its objects again"):
        run(tmp_path / "cut.csv")
    run(tmp_path / "cut.csv")
    assert (tmp_path / "cut.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


ODD = ["a,b", 'say "x"', "two\nlines", "=1+1", "-7", "007", "nan", "", "ü"]
"""Identifiers that a program which writes or reads CSV may stumble over."""


def kept(out: Path, objects: int, monkeypatch: pytest.MonkeyPatch, **columns: object) -> scorefile.Summary:
    """Scores without a network, of which columns are given or all the same; in one part."""
    monkeypatch.setattr(scorefile, "PART", objects)
    same = {
        "id": [str(number) for number in range(objects)], "path": ["x"] * objects, "ra": [np.nan] * objects,
        "logit": np.arange(objects), "probability": [0.5] * objects, "dec": [np.nan] * objects, "masked": [0] * objects,
        "flags": [""] * objects, "reason": [None] * objects,
    }  # fmt: skip
    parts = scorefile.Parts(out, {"model": "finder/1"}, objects, lambda start, stop: f"{start} {stop}")
    with parts.opened(False, False):
        parts.write(range(objects), {**same, **columns}, parts.state_of(range(objects)))
        return parts.finish()


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_the_best_are_found_whatever_the_first_rows_hold(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = [""] * 59_999 + ["masked,padded"]
    kept(tmp_path / f"s{suffix}", 60_000, monkeypatch, flags=flags, ra=[np.nan] * 59_000 + [1.5] * 1_000)
    best = scorefile.best(tmp_path / f"s{suffix}", 3)
    assert [(each["id"], each["row"], each["ra"]) for each in best] == [
        (str(n), n, 1.5) for n in (59_999, 59_998, 59_997)
    ]
    assert [each["flags"] for each in best] == ["masked,padded", "", ""]
    last = scorefile.best(tmp_path / f"s{suffix}", 10**6)[-1]
    assert (last["id"], last["rank"], np.isnan(last["ra"])) == ("0", 60_000, True)


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_identifiers_are_written_and_read_as_they_are(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept(tmp_path / f"s{suffix}", len(ODD), monkeypatch, id=ODD, logit=-np.arange(len(ODD)))
    assert [each["id"] for each in scorefile.best(tmp_path / f"s{suffix}", 99)] == ODD
    if suffix == ".csv":
        frame = pandas.read_csv(tmp_path / "s.csv", dtype=str, keep_default_na=False)
        assert frame["id"].tolist() == ODD


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_a_page_is_drawn_where_nothing_has_a_place_and_where_all_is_bad(
    suffix: str, model: Model, run: Run, tmp_path: Path, listed: Path
) -> None:
    image = np.random.default_rng(0).normal(0, 1e-12, (101, 101)).astype(np.float32)
    fits.PrimaryHDU(image).writeto(tmp_path / "nowhere.fits")
    for name, good in (("nowhere.fits", 1000), ("gone.fits", 0)):
        listed.write_text(f"{name}\n" * 1000)
        out = tmp_path / f"{name}{suffix}"
        assert run(out).bad == 1000 - good
        page = scoring.candidates(model, sources.find(listed, SPACE), out, 3)
        assert page.count("<figure>") == (3 if good else 0)
        assert "nan" not in page


def test_two_processes_do_not_score_into_one_file(run: Run, model: Model, tmp_path: Path, listed: Path) -> None:
    out = tmp_path / "scores.parquet"
    kept = scoring.parts(model, sources.find(listed, SPACE), CPU, out, {"hdu": ""})
    with kept.opened(False, False), pytest.raises(DataError, match="another process is scoring into it"):
        run(out)
    with pytest.raises(
        DataError, match=r"no kind of file '\.txt' \(allowed: \.parquet, \.pq, \.csv, NAME/ for a folder\)"
    ):
        run(tmp_path / "scores.txt")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"file/scores\.csv\.parts: Not a directory"):
        run(tmp_path / "file" / "scores.csv")


def test_the_threads_of_the_network_are_as_before(run: Run, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    run(tmp_path / "scores.parquet", stop=2)
    assert torch.get_num_threads() == before


def test_probabilities_are_those_of_the_skys_share_of_lenses(model: Model, listed: Path) -> None:
    flux = torch.from_numpy(np.stack([read_cutout([Path(path)]) for path in listed.read_text().split()[:20]]))
    known = model._replace(about={"prevalence": 0.4})
    with torch.no_grad():
        before, after = known.finder(flux), scoring.at(known, "finder", 1e-3).finder(flux)
    odds = before["probability"] / (1 - before["probability"]) * (1e-3 / 0.999) / (0.4 / 0.6)
    torch.testing.assert_close(after["probability"], odds / (1 + odds))
    assert torch.equal(after["logit"], before["logit"])
    assert scoring.at(model, "finder", None) is model
    with pytest.raises(TrackingError, match="finder: it is not on record at what share"):
        scoring.at(model, "finder", 1e-3)


@pytest.fixture
def kept_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Model:
    """A model with its graph, and a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    torch.manual_seed(0)
    export(Finder(architectures.create("lens_flow", bands=1, hidden=8), "asinh"), 1, 101, tmp_path / "graph.pt2")
    found = pt2.read(tmp_path / "graph.pt2", CPU)
    return Model(found, SPACE, "finder/1", "digest", {}, (tmp_path / "graph.pt2").read_bytes())


@pytest.mark.slow
def test_openvino_scores_many_cutouts_and_another_runtime_does_not_go_on_with_them(
    kept_graph: Model, listed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = listed.read_text().split()
    listed.write_text("\n".join(["gone.fits"] * 70 + paths[70:170]))  # the first that can be scored are further on
    source, told = sources.find(listed, SPACE), list[str]()

    def scored(runtime: str | None, out: str, stop: int = 10**6) -> tuple[str, NDArray[np.float32]]:
        model, by = scoring.computed(kept_graph, source, CPU, runtime, told.append)
        kept = scoring.parts(model, source, CPU, tmp_path / out, {}, by)
        with kept.opened(False, False):
            list(islice(scoring.score(model, source, CPU, kept), stop))
            if stop < 100:
                return by, np.empty(0)
            kept.finish()
        return by, pyarrow.parquet.read_table(tmp_path / out)["logit"].to_numpy()

    by, expected = scored(None, "torch.parquet")
    assert by == "torch", "so few that converting does not pay"
    monkeypatch.setattr(scoring, "LEAST", 170)
    by, found = scored(None, "openvino.parquet")
    assert by == f"openvino {openvino.version()}"
    np.testing.assert_allclose(found, expected, atol=1e-4, rtol=1e-4)
    assert not (found == expected).all(), "it is torch that computed"
    about = pyarrow.parquet.read_schema(tmp_path / "openvino.parquet").metadata
    assert f"cpu, {by}" in str(about)
    scored(None, "cut.parquet", stop=4)  # a part is of three batches
    with pytest.raises(DataError, match=r"another device \(cpu, openvino \S+, now cpu\); --overwrite begins anew"):
        scored("torch", "cut.parquet")
    scored(None, "cut.parquet")
    assert (tmp_path / "cut.parquet").read_bytes() == (tmp_path / "openvino.parquet").read_bytes()
    assert not told
    monkeypatch.setattr(openvino, "DIFFERENCE", -1.0)
    by, again = scored(None, "other.parquet")
    assert by == "torch"
    assert (again[~np.isnan(again)] == expected[~np.isnan(expected)]).all()
    assert len(told) == 1
    assert "finder/1: OpenVINO differs from the graph by" in told[0]
    assert told[0].endswith("and may by -1; torch scores instead")
    with pytest.raises(RecipeError, match="OpenVINO differs"):
        scored("openvino", "asked.parquet")


def test_openvino_is_asked_for_where_it_is(model: Model, listed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = sources.find(listed, SPACE)
    with pytest.raises(StudyError, match=r"--runtime openvino: computes on a CPU \(--device cpu\)"):
        scoring.computed(model, source, torch.device("cuda"), "openvino", print)
    monkeypatch.setattr(openvino, "PACKAGE", "openvino-that-is-not-there")
    with pytest.raises(StudyError, match=r"--runtime openvino: needs pip install 'lens-orchestrator\[fast\]'"):
        scoring.computed(model, source, CPU, "openvino", print)
    monkeypatch.setattr(scoring, "LEAST", 1)
    assert scoring.computed(model, source, CPU, None, print) == (model, "torch")
    listed.write_text("gone.fits")
    monkeypatch.undo()
    assert scoring.computed(model, sources.find(listed, SPACE), CPU, "openvino", print) == (model, "torch")


@pytest.mark.slow
def test_batches_are_shared_out_over_devices_and_come_in_order(
    kept_graph: Model, listed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, used = sources.find(listed, SPACE), set[int]()

    def noting(number: int) -> Model:
        copy = kept_graph.on(CPU)
        assert copy.finder is not kept_graph.finder

        def finder(flux: torch.Tensor) -> dict[str, torch.Tensor]:
            used.add(number)
            return copy.finder(flux)

        return copy._replace(finder=finder)  # type: ignore[arg-type]

    several = [(noting(number), CPU) for number in range(3)]
    one = list(scoring.scored(kept_graph, source, CPU, [range(64, 400)]))
    monkeypatch.setattr(scoring, "WORKERS", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)  # as where there are more cores: two processes read
    assert [scoring._readers(CPU, 8, objects) for objects in (scoring.MANY, scoring.MANY - 1)] == [2, 0]
    shared = list(scoring.scored(several[0][0], source, CPU, [range(64, 400)], several[1:], scoring.MANY))
    assert used == {0, 1, 2}
    assert [[row.id for row in batch.rows] for batch in shared] == [[row.id for row in batch.rows] for batch in one]
    for found, expected in zip(shared, one, strict=True):
        np.testing.assert_array_equal(found.scores, expected.scores)
