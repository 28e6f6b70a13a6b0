"""`orchestrator score` as a user gives it, with a registered model; and killed in the middle."""

from __future__ import annotations

import time
from pathlib import Path

import h5py
import numpy as np
import pandas
import pyarrow.parquet
import pytest
import torch

import architectures
from orchestrator.data.challenge import SPACE, scan
from orchestrator.data.fits import read_cutout
from orchestrator.learning.finder import Finder
from orchestrator.reports import scorefile
from orchestrator.tracking import models, runs, store
from tests.cli.calling import Call, start

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A working directory with a model in its store, and the model's name."""
    folder = tmp_path_factory.mktemp("scorer")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        store.connect(f"sqlite:///{folder}/mlflow.db")
        run_id = runs.begin(store.experiment("made"), "trial", "made")
        torch.manual_seed(0)
        models.log(run_id, Finder(architectures.create("lens_flow", bands=1, hidden=8), "asinh"), SPACE, {})
    return folder, f"runs:/{run_id}/model"


def test_real_cutouts_are_scored_ranked_and_shown(
    scorer: tuple[Path, str], call: Call, challenge1: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, model = scorer
    monkeypatch.chdir(folder)
    out = tmp_path / "real.parquet"
    told = call("score", "--model", model, "--data", str(challenge1 / "space"), "--out", str(out), "--top", "3").output
    objects = scan(challenge1 / "space").objects
    assert f"{len(objects)} cutouts, {len(objects)} of them scored" in told
    table = pyarrow.parquet.read_table(out)
    assert table["id"].to_pylist() == [str(each.id) for each in objects]
    assert sorted(table["rank"].to_pylist()) == list(range(1, len(objects) + 1))
    assert (tmp_path / "real.html").read_text().count("data:image/png") == 3
    for data, wrong in ((challenge1 / "ground", "of a ground set"), (tmp_path / "none", "no such file or folder")):
        refused = call("score", "--model", model, "--data", str(data), "--out", str(tmp_path / "no.csv"), expect=2)
        assert wrong in refused.stderr
    assert "is there already" in call(
        "score", "--model", model, "--data", str(challenge1 / "space"), "--out", str(out), expect=2
    ).stderr  # fmt: skip
    assert "no kind of file" in call(
        "score", "--model", model, "--data", str(challenge1 / "space"), "--out", str(tmp_path / "no.txt"), expect=2
    ).stderr  # fmt: skip


def test_a_scoring_that_is_killed_goes_on_to_the_very_same_file(
    scorer: tuple[Path, str], call: Call, tiny_space: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, model = scorer
    monkeypatch.chdir(folder)
    paths = [str(each.paths[0]) for each in scan(tiny_space).objects]
    (tmp_path / "list.txt").write_text("\n".join(paths * 60))
    monkeypatch.setattr(scorefile, "PART", 256)
    command = ["score", "--model", model, "--data", str(tmp_path / "list.txt"), "--out"]
    whole, cut = tmp_path / "whole.parquet", tmp_path / "cut.parquet"
    after = "from orchestrator.reports import scorefile; scorefile.PART = 256"
    process = start(*command, str(cut), at=folder, after=after)
    while not any((tmp_path / "cut.parquet.parts").glob("*.parquet")):
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.communicate(timeout=60)
    assert not cut.exists()
    for out in (cut, whole):
        assert "2,400 cutouts, 2,400 of them scored" in call(*command, str(out)).output
    assert cut.read_bytes() == whole.read_bytes()


def test_a_slash_at_the_end_makes_a_folder_with_the_rows_of_the_file(
    scorer: tuple[Path, str], call: Call, tiny_space: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    folder, model = scorer
    monkeypatch.chdir(folder)
    with h5py.File(tmp_path / "stack.h5", "w") as file:
        file["images"] = np.stack([read_cutout(each.paths) for each in scan(tiny_space).objects])
        file["ra"], file["dec"] = np.arange(40.0), np.arange(40.0)
    command = ["score", "--model", model, "--data", str(tmp_path / "stack.h5"), "--out"]
    call(*command, str(tmp_path / "one.parquet"))
    assert f": {tmp_path}/dr3.1/\n" in call(*command, f"{tmp_path}/dr3.1/", "--top", "3").output
    assert (tmp_path / "dr3.1.html").read_text().count("data:image/png") == 3
    pandas.testing.assert_frame_equal(
        pandas.read_parquet(tmp_path / "dr3.1"), pandas.read_parquet(tmp_path / "one.parquet")
    )
    assert "dr3.1: is there already" in call(*command, f"{tmp_path}/dr3.1/", expect=2).stderr
    call(*command, f"{tmp_path}/dr3.1/", "--resume")
    refused = call(*command, f"{tmp_path}/dr3.1", expect=2).stderr
    assert "no kind of file '.1' (allowed: .parquet, .pq, .csv, NAME/ for a folder)" in refused


def test_an_evaluation_says_where_it_is_not_known_what_the_model_was_trained_on(
    scorer: tuple[Path, str], call: Call, tiny_space: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(scorer[0])
    told = call("evaluate", "--model", scorer[1], "--data", str(tiny_space)).stdout
    assert "Note: it is not on record what the model was trained on" in told
