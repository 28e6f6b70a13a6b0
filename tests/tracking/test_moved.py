"""A working folder that is moved or copied holds everything, in its new place: on real stores, with a real `mv`."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import mlflow
import pytest
import torch
from mlflow.tracking._tracking_service.utils import _artifact_repos_cache

from orchestrator.data.challenge import SPACE
from orchestrator.learning.finder import Finder
from orchestrator.learning.recipe import recipe
from orchestrator.learning.training import begin
from orchestrator.studies import doctor, storage
from orchestrator.tracking import artifacts, models, moved, runs, store
from tests.cli.calling import invoke
from tests.faults import Killed, watching

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

CHAMPION = "models:/lens-finder-space@champion"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of a study, its files, a champion, a run of MLflow's own and a run without files."""
    folder = tmp_path_factory.mktemp("folders") / "one"
    (folder / "data" / "own").mkdir(parents=True)
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID"):
            patch.delenv(name, raising=False)
        store.connect(store.DEFAULT)
        row = runs.begin(store.experiment("small"), "row", "lens_flow", study="small")
        runs.log_params(row, {"dataset": str(folder / "data" / "own"), "test_dataset": str(folder / "data" / "gone")})
        network = begin(recipe({"architecture": "lens_flow", "epochs": 1}), 1, 101, torch.device("cpu")).network
        models.log(row, Finder(network, "asinh"), SPACE, {})
        artifacts.log_text(row, "all of it", "scores.csv")
        name = "lens-finder-space"
        version = mlflow.register_model(f"runs:/{row}/model", name).version
        mlflow.MlflowClient().set_registered_model_alias(name, "champion", version)
        runs.end(row, "FINISHED")
        runs.end(runs.begin("0", "trial", "of mlflow run"), "FINISHED")
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same at a place of its own, as if it had been made there by a version of before."""
    own = tmp_path / "one"
    shutil.copytree(original, own)
    with contextlib.closing(sqlite3.connect(own / "mlflow.db")) as connection, connection:
        for table, column in (*moved.PLACES, ("params", "value")):
            connection.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (str(original), str(own)))
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID"):
        monkeypatch.delenv(name, raising=False)
    return own


def row() -> Any:
    (found,) = mlflow.search_runs(search_all_experiments=True, filter_string="tags.kind = 'row'", output_format="list")
    return found


def is_whole(home: Path) -> None:
    """All that was recorded can be read, none of it from elsewhere, and what comes is written here."""
    _artifact_repos_cache.clear()  # of places of runs: a process of its own would have none
    run = row()
    assert artifacts.text(run.info.run_id, "scores.csv") == "all of it"
    assert models.load(CHAMPION, torch.device("cpu")).set == SPACE
    assert run.data.params["dataset"] == str(home / "data" / "own")
    artifacts.log_text(run.info.run_id, "more", "more.txt")
    for experiment in ("0", store.experiment("small"), store.experiment("another")):
        begun = runs.begin(experiment, "trial", "x")
        artifacts.log_text(begun, "new", "new.txt")
        runs.end(begun, "FINISHED")
    assert len([*home.rglob("more.txt"), *home.rglob("new.txt")]) == 4
    assert doctor.examine(storage.connect()) == []


@pytest.mark.parametrize("name", ["two", "zwei Ordner", "häßlich", "a#b", "100%20", "what?"])
def test_a_folder_that_was_moved_is_whole(
    name: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    two = shutil.move(folder, tmp_path / "deeper" / name)
    monkeypatch.chdir(two)
    store.connect(store.DEFAULT)
    assert f"{two}: was {folder} when it was recorded" in capsys.readouterr().err
    is_whole(two)
    assert not folder.exists()
    store.connect(store.DEFAULT)
    assert capsys.readouterr().err == ""  # told once


def test_a_copy_and_its_original_leave_each_other_alone(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = Path(shutil.copytree(folder, tmp_path / "two"))
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    monkeypatch.chdir(two)
    store.connect(store.DEFAULT)
    is_whole(two)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    shutil.rmtree(two)
    monkeypatch.chdir(folder)
    store.connect(store.DEFAULT)
    is_whole(folder)


def test_a_folder_by_another_name_was_not_moved(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "link").symlink_to(folder)
    before = (folder / "mlflow.db").read_bytes()
    monkeypatch.chdir(tmp_path)
    store.connect("sqlite:///link/mlflow.db")
    assert capsys.readouterr().err == ""
    assert (folder / "mlflow.db").read_bytes() == before
    assert artifacts.text(row().info.run_id, "scores.csv") == "all of it"


def test_places_of_somebody_s_choice_stay(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    store.connect(store.DEFAULT)
    chosen = {name: mlflow.create_experiment(name, at) for name, at in (("big", "/big/disk"), ("far", "s3://far/x"))}
    two = shutil.move(folder, tmp_path / "two")
    monkeypatch.chdir(two)
    store.connect(store.DEFAULT)
    places = {name: mlflow.get_experiment(chosen[name]).artifact_location for name in chosen}
    assert places == {"big": "/big/disk", "far": "s3://far/x"}


def test_what_was_written_to_the_old_place_since_is_read_there_until_the_doctor_fetches_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = Path(shutil.move(folder, tmp_path / "two"))
    run_id = row_id(two)
    (folder / "mlartifacts").mkdir(parents=True)
    shutil.move(two / "mlartifacts" / run_id, folder / "mlartifacts" / run_id)  # as earlier versions left it
    monkeypatch.chdir(two)
    store.connect(store.DEFAULT)
    assert artifacts.text(run_id, "scores.csv") == "all of it"
    paths = moved.left_behind(two / "mlflow.db")[folder]
    for place in range(4):
        with pytest.raises(Killed), watching(place, "killed"):
            moved.fetch(two / "mlflow.db", folder, paths)
        store.connect(store.DEFAULT)
        assert artifacts.text(run_id, "scores.csv") == "all of it"  # not none of it, from here
    (told,) = doctor.examine(storage.connect())
    assert told.what == f"files of 1 runs and models are in {folder}, and not beside {two / 'mlflow.db'}"
    doctor.mend(storage.connect())
    assert [each.what for each in doctor.examine(storage.connect())] == [told.what]  # not without being asked
    doctor.mend(storage.connect(), asked=True)
    shutil.rmtree(folder)
    is_whole(two)


def row_id(home: Path) -> str:
    with contextlib.closing(sqlite3.connect(home / "mlflow.db")) as connection:
        found = connection.execute("SELECT run_uuid FROM tags WHERE key = 'kind' AND value = 'row'").fetchone()
    return str(found[0])


def test_a_report_tells_of_rows_whose_files_are_gone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    store.connect(store.DEFAULT)
    own = row().info.run_id
    runs.log_params(own, {"model": "lens_flow", "tested": "x", "epochs": "1", "split": "0.7/0.1/0.2", "seed": "1"})
    runs.log_tags(own, {"set": "space"})
    names = ("auc", "tpr", "fpr", "tpr0", "tpr10", "val_auc", "seconds_per_image", "network_seconds_per_image")
    runs.log_metrics(own, dict.fromkeys(names, 0.5))
    told = invoke("report", "--study", "small", expect=1)
    assert f"1 of 1 rows have no files, and no pictures in the report: {own}" in told.stderr
    assert Path("small.html").is_file()
