"""Bulk scoring: each cutout gets the score it has alone, and the file is the same however often it was cut off."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow.csv
import pyarrow.parquet
import pytest
import torch
from scipy.stats import rankdata

import architectures
from orchestrator.data import sources
from orchestrator.data.challenge import SPACE, scan
from orchestrator.data.fits import read_cutout
from orchestrator.errors import DataError, TrackingError
from orchestrator.learning.finder import Finder, find
from orchestrator.reports import scorefile
from orchestrator.studies import scoring
from orchestrator.tracking.models import Model

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


def test_two_processes_do_not_score_into_one_file(run: Run, model: Model, tmp_path: Path, listed: Path) -> None:
    out = tmp_path / "scores.parquet"
    kept = scoring.parts(model, sources.find(listed, SPACE), CPU, out, {"hdu": ""})
    with kept.opened(False, False), pytest.raises(DataError, match="another process is scoring into it"):
        run(out)
    with pytest.raises(DataError, match=r"no kind of file '\.txt' \(allowed: \.parquet, \.pq, \.csv\)"):
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
