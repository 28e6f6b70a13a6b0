"""From a folder of cutouts to a champion, by the commands a person types, on real stores."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient
from sklearn.metrics import roc_auc_score

from orchestrator.data import cache
from orchestrator.data.challenge import scan
from orchestrator.data.fits import read_cutout
from orchestrator.data.splits import split
from tests.cli.calling import Call

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def client(inside: Path) -> MlflowClient:
    mlflow.set_tracking_uri("sqlite:///mlflow.db")
    return MlflowClient()


def rows_of(client: MlflowClient, query: str = "") -> list[mlflow.entities.Run]:
    experiment = client.get_experiment_by_name("tiny")
    return client.search_runs([experiment.experiment_id], f"tags.kind = 'row' {query}", order_by=["metrics.tpr10 DESC"])


def test_every_network_has_a_row_at_every_epoch_count(client: MlflowClient) -> None:
    found = sorted((run.data.params["model"], run.data.params["epochs"]) for run in rows_of(client))
    assert found == [(model, epochs) for model in ("lastro_epfl", "lens_flow") for epochs in ("1", "2")]


def test_rows_can_be_filtered_and_sorted_as_a_reader_of_the_ui_does(client: MlflowClient) -> None:
    (row,) = rows_of(client, "and params.model = 'lastro_epfl' and params.epochs = '2'")
    assert row.data.params["hyperparameters.hidden"] == "16"
    values = [run.data.metrics["tpr10"] for run in rows_of(client)]
    assert values == sorted(values, reverse=True)


def test_a_row_is_a_child_of_its_trial_and_the_trial_of_the_study(client: MlflowClient) -> None:
    for row in rows_of(client):
        trial = client.get_run(row.data.tags["mlflow.parentRunId"])
        study = client.get_run(trial.data.tags["mlflow.parentRunId"])
        assert (trial.data.tags["kind"], study.data.tags["kind"]) == ("trial", "study")
        assert {each.info.status for each in (row, trial, study)} == {"FINISHED"}


def test_a_trial_keeps_its_learning_curves_and_what_it_ran_on(client: MlflowClient) -> None:
    trial = client.get_run(rows_of(client)[0].data.tags["mlflow.parentRunId"])
    for metric in ("loss", "accuracy", "val_auc", "val_accuracy", "seconds"):
        assert [point.step for point in client.get_metric_history(trial.info.run_id, metric)] == [1, 2]
    assert {"git_commit", "version.torch", "processor", "device", "set"} <= trial.data.tags.keys()
    assert trial.inputs.dataset_inputs[0].dataset.digest == trial.data.params["dataset.digest"]


def test_models_belong_to_the_experiment_of_their_study(client: MlflowClient) -> None:
    rows = rows_of(client)
    found = client.search_logged_models([rows[0].info.experiment_id])
    assert {model.source_run_id for model in found} == {row.info.run_id for row in rows}


def test_the_model_of_a_row_gives_the_metrics_of_the_row(client: MlflowClient, small_space: Path, inside: Path) -> None:
    cutouts = cache.load(small_space, "asinh", inside / "data" / "packed")
    assert cutouts is not None
    for row in rows_of(client):
        test = split(cutouts.labels, row.data.params["split"], int(row.data.params["seed"])).test
        files = {each.id: each.paths for each in scan(small_space).objects}
        flux = np.stack([read_cutout(files[int(identifier)]) for identifier in cutouts.ids[test]])
        logits = mlflow.pyfunc.load_model(f"runs:/{row.info.run_id}/model").predict(flux)["logit"]
        labels = cutouts.labels[test]
        assert row.data.metrics["auc"] == pytest.approx(roc_auc_score(labels, logits), abs=1e-9)
        assert row.data.metrics["tpr"] == pytest.approx((logits[labels == 1] > 0).mean())
        first_false = logits[labels == 0].max()
        assert row.data.metrics["tpr0"] == pytest.approx((logits[labels == 1] > first_false).mean())


def test_a_row_carries_its_roc_curve_as_page_and_points(client: MlflowClient, tmp_path: Path) -> None:
    row = rows_of(client)[0]
    points = json.loads(Path(client.download_artifacts(row.info.run_id, "roc.json", str(tmp_path))).read_text())
    assert (points["fpr"][0], points["tpr"][-1]) == (0, 1)
    assert np.trapezoid(points["tpr"], points["fpr"]) == pytest.approx(row.data.metrics["auc"])
    page = Path(client.download_artifacts(row.info.run_id, "roc.html", str(tmp_path))).read_text()
    assert "plotly" in page
    assert "false-positive rate" in page


def test_the_sweep_ends_by_printing_the_table(inside: Path) -> None:
    lines = (inside / "output.txt").read_text().splitlines()
    assert len([line for line in lines if line.startswith(("lens_flow  ", "lastro_epfl "))]) >= 4


def test_the_table_says_the_same_in_every_format(call: Call, inside: Path) -> None:
    told = json.loads(call("table", "--study", "tiny", "--format", "json").stdout)
    lines = call("table", "--study", "tiny", "--format", "csv").stdout.splitlines()
    header = lines[0].split(",")
    for row, line in zip(told, lines[1:], strict=True):
        values = dict(zip(header, line.split(","), strict=True))
        assert (values["model"], float(values["auc"])) == (row["model"], row["auc"])
    markdown = call("table", "--study", "tiny", "--format", "markdown").stdout
    text = call("table", "--study", "tiny").stdout
    for row in told:
        assert f"{row['auc']:.4f}" in markdown
        assert f"{row['auc']:.4f}" in text


def test_the_table_shows_intervals_and_what_was_published(call: Call, client: MlflowClient) -> None:
    told = call("table", "--study", "tiny", "--intervals", "--beside", "challenge").stdout
    (row,) = rows_of(client, "and params.model = 'lens_flow' and params.epochs = '2'")
    limits = [row.data.metrics[f"auc_{end}"] for end in ("low", "high")]
    assert limits[0] < row.data.metrics["auc"] < limits[1]
    assert f"{limits[0]:.4f}" in told
    assert told.count("0.9325") == 4  # the challenge's best AUC on the Space set, beside each row
    assert "not comparable as they stand" in told


def test_a_row_keeps_its_scores(client: MlflowClient, tmp_path: Path) -> None:
    row = rows_of(client)[0]
    lines = Path(client.download_artifacts(row.info.run_id, "scores.csv", str(tmp_path))).read_text().splitlines()
    labels, logits = zip(*((int(line.split(",")[1]), float(line.split(",")[2])) for line in lines[1:]), strict=True)
    assert roc_auc_score(labels, logits) == pytest.approx(row.data.metrics["auc"])


def test_a_second_sweep_trains_nothing(call: Call, client: MlflowClient, inside: Path) -> None:
    before = {run.info.run_id for run in rows_of(client)}
    result = call("sweep", "--study", "tiny")
    assert "epoch" not in result.stderr
    assert {run.info.run_id for run in rows_of(client)} == before


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("epochs = [1, 2]", "epochs = [1, 3]", ["epochs = [1, 2]", "[1, 3]"]),
        ("batch_size = 32", "batch_size = 16", ["was begun with fixed.batch_size = 32, and it is 16 now"]),
    ],
)
def test_a_study_that_changed_is_refused_and_the_key_is_named(
    before: str, after: str, told: list[str], call: Call, inside: Path
) -> None:
    file = inside / "search_spaces" / "tiny.toml"
    original = file.read_text()
    try:
        file.write_text(original.replace(before, after))
        result = call("sweep", "--study", "tiny", expect=2)
    finally:
        file.write_text(original)
    assert all(each in result.stderr for each in told)


def test_another_data_set_under_the_same_study_is_refused(call: Call, inside: Path, small_ground: Path) -> None:
    result = call("sweep", "--study", "tiny", "--data", str(small_ground), expect=2)
    assert "was begun with data =" in result.stderr


def test_studies_lists_what_is_done_and_what_is_not_begun(call: Call, inside: Path) -> None:
    lines = call("studies").stdout.splitlines()
    assert sum("tiny" in line and " 1 " in line for line in lines) == 2
    assert any("quickstart" in line and "not begun" in line for line in lines)


def test_the_best_by_validation_becomes_champion_and_scores_a_folder(
    call: Call, client: MlflowClient, inside: Path, small_space: Path, tmp_path: Path
) -> None:
    best = max(run.data.metrics["val_auc"] for run in rows_of(client))
    for said in ("is", "is already"):
        told = call("registry", "promote", "--study", "tiny").stdout
        assert f"models:/lens-finder-space@champion {said} version 1" in told
    champion = client.get_model_version_by_alias("lens-finder-space", "champion")
    assert client.get_run(champion.tags["run_id"]).data.metrics["val_auc"] == best
    assert "champion" in call("registry", "list").stdout

    scores = tmp_path / "scores.csv"
    uri = "models:/lens-finder-space@champion"
    result = call("evaluate", "--model", uri, "--data", str(small_space), "--out", str(scores))
    lines = scores.read_text().splitlines()
    assert lines[0] == "ID,is_lens,logit,probability"
    assert len(lines) == 201
    labels, logits = zip(*((int(line.split(",")[1]), float(line.split(",")[2])) for line in lines[1:]), strict=True)
    assert f"auc       {roc_auc_score(labels, logits):.4f}" in result.stdout
    assert "Note: the model was trained on 160 of these objects" in result.stdout


def test_what_a_model_sees_is_drawn_and_recorded(
    call: Call, client: MlflowClient, small_space: Path, tmp_path: Path
) -> None:
    call("registry", "promote", "--study", "tiny")
    options = ("features", "--model", "models:/lens-finder-space@champion", "--maps", "4", "--out", str(tmp_path))
    image = next(small_space.glob("Data_EuclidBig.0/Public/Band1/*.fits"))
    told = call(*options, "--image", str(image)).stdout
    assert (tmp_path / "features.html").stat().st_size > 10_000
    assert (tmp_path / "input.png").exists()
    run = client.get_run(told.split()[-1])
    assert f"logit {run.data.metrics['logit']:.4f}" in told
    assert "convolution" in call(*options, "--image", str(image), "--layers", "nothing", expect=2).stderr
    assert "2 images where the model takes 1" in call(*options, *(2 * ("--image", str(image))), expect=2).stderr


def test_a_model_is_not_tried_on_the_other_set(call: Call, inside: Path, small_ground: Path) -> None:
    call("registry", "promote", "--study", "tiny")
    uri = "models:/lens-finder-space@champion"
    result = call("evaluate", "--model", uri, "--data", str(small_ground), expect=2)
    assert "a ground set" in result.stderr
    assert "space" in result.stderr


def test_the_real_cutouts_are_scored(call: Call, inside: Path, challenge1: Path) -> None:
    call("registry", "promote", "--study", "tiny")
    uri = "models:/lens-finder-space@champion"
    result = call("evaluate", "--model", uri, "--data", str(challenge1 / "space"))
    assert "8 space cutouts" in result.stderr
    assert "tpr10" in result.stdout
    assert "Note" not in result.stdout


def test_both_stores_are_where_they_were_promised(inside: Path) -> None:
    for name, table in (("mlflow.db", "runs"), ("optuna.db", "trials")):
        with sqlite3.connect(inside / name) as connection:
            assert connection.execute(f"select count(*) from {table}").fetchone()[0] > 0


def test_a_training_of_its_own_is_recorded_beside_the_studies(call: Call, inside: Path, small_space: Path) -> None:
    # As it is normalised where nothing is said.
    options = ("--model", "lens_flow", "--data", str(small_space), "--no-augment", "--hyperparameter", "hidden=8")
    result = call("train", *options, "--epochs", "1,2", "--batch-size", "32.0")
    assert "lens_flow  epoch 2/2" in result.stderr
    table = json.loads(call("table", "--study", "train-space", "--format", "json").stdout)
    assert [row["epochs"] for row in table] == [1, 2]
