"""Ensembles, calibrations and ONNX by the command line, on small networks of one training each."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from mlflow import MlflowClient
from sklearn.metrics import brier_score_loss, roc_auc_score

from orchestrator.data.challenge import SPACE, scan
from orchestrator.data.fits import read_cutout
from orchestrator.data.simulation import simulate
from orchestrator.errors import TrackingError
from orchestrator.learning.finder import find
from orchestrator.learning.prevalence import corrected
from orchestrator.studies.evaluation import share_of
from orchestrator.tracking import artifacts, models
from tests.cli.calling import Call, invoke

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

CPU = torch.device("cpu")

ENSEMBLE = ("ensemble", "--study", "train-space", "--top", "2")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, small_space: Path) -> Path:
    """A working directory with two trainings, an ensemble of them, one of another split, and a set unknown to all."""
    folder = tmp_path_factory.mktemp("better")
    for _ in simulate(folder / "other", SPACE, 260, seed=8, difficulty=-2.0, workers=2):
        pass
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        fixed = ("--model", "lens_flow", "--data", str(small_space), "--normalisation", "asinh", "--no-augment")
        for number, command in enumerate(
            (
                ("train", *fixed, "--epochs", "1,2"),
                ("train", *fixed, "--epochs", "1", "--hyperparameter", "hidden=8"),
                (*ENSEMBLE, "--register"),
                ENSEMBLE,
                ("train", *fixed, "--epochs", "1", "--seed", "1"),
            )
        ):
            (folder / f"output_{number}.txt").write_text(invoke(*command).stdout)
    return folder


@pytest.fixture(autouse=True)
def inside(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(trained)


def rows(call: Call) -> list[dict[str, str]]:
    return json.loads(call("table", "--study", "train-space", "--format", "json").stdout)


def scores(run_id: str) -> dict[int, float]:
    read = csv.DictReader(io.StringIO(artifacts.text(run_id, "scores.csv")))
    return {int(each["ID"]): float(each["logit"]) for each in read}


def test_an_ensemble_is_a_row_with_all_that_a_row_has(call: Call, trained: Path) -> None:
    told, again = (Path(f"output_{number}.txt").read_text() for number in (2, 3))
    run_id = told.split("recorded as run ")[1].split()[0]
    members = [line.split()[0] for line in told.splitlines() if "lens_flow" in line]
    by_run = {each["run_id"]: each for each in rows(call)}
    assert {by_run[each]["seed"] for each in members} == {"0"}
    assert len({by_run[each]["recipe"] for each in members}) == 2, "one row of each training"
    expected = [scores(each) for each in members]
    for identifier, logit in scores(run_id).items():
        assert logit == pytest.approx(np.mean([each[identifier] for each in expected]), abs=1e-4)
    assert by_run[run_id]["model"] == "ensemble"
    for name in ("auc", "auc_low", "tpr10_high", "seconds_per_image", "cold_start_seconds", "times_slower"):
        assert name in by_run[run_id], name
    assert by_run[run_id]["logit_difference"] < 1e-4
    for name in ("roc.html", "completeness.json", "mistakes.html", "trained_on.npz", "tested_on.npz"):
        assert artifacts.has(run_id, name), name
    seen, tested = (artifacts.objects(run_id, f"{name}_on.npz") for name in ("trained", "tested"))
    assert seen is not None
    assert tested is not None
    assert (len(seen.ids), len(tested.ids)) == (160, 40)
    assert not set(seen.ids.tolist()) & set(tested.ids.tolist())
    best = by_run[members[0]]
    assert f"{by_run[run_id]['auc'] - best['auc']:+.4f}" in told
    assert "times as long as the best of them" in told

    assert f"recorded as run {run_id}" in again, "what is done stays done"
    model = models.load(told.split("registered as ")[1].split(";")[0], CPU)
    assert model.about["members"] == [f"runs:/{each}/model" for each in members]
    assert call("registry", "promote", run_id).stdout.endswith("epochs, of study train-space\n")
    image = next((trained / "other").rglob("*.fits"))
    told = call("features", "--model", f"runs:/{run_id}/model", "--image", str(image), expect=2).stderr
    assert f"it is made of: runs:/{members[0]}/model" in told
    call("report", "--study", "train-space")
    assert "<td>ensemble</td>" in Path("train-space.html").read_text()


def test_what_is_no_ensemble_is_refused(call: Call) -> None:
    told = call("ensemble", "--study", "train-space", "--top", "1", expect=2).stderr
    assert "no ensemble (allowed: --top 2 or more, or --orientations)" in told
    assert "rows of 3 trainings" in call("ensemble", "--study", "train-space", "--top", "9", expect=2).stderr
    told = call("ensemble", "--study", "train-space", "--top", "3", expect=2).stderr
    assert "split 0.7/0.1/0.2 seed" in told
    assert "(lens_flow, 1 epochs)" in told
    assert "no rows of a study 'nothing'" in call("ensemble", "--study", "nothing", expect=2).stderr


def test_a_calibrated_model_keeps_its_logits_and_is_measured_on_what_it_has_not_seen(call: Call, trained: Path) -> None:
    best = max((row for row in rows(call) if row["epochs"]), key=lambda row: row["val_auc"])
    uri = f"runs:/{best['run_id']}/model"
    options = ("--data", "other", "--prevalence", "0.001")
    told = call("calibrate", "--model", uri, *options, "--register").stdout
    assert "Left out, since the model was trained on them: 0 objects." in told
    assert "Fitted to 130 objects, and measured on 130 others:" in told
    run_id = told.split("recorded as run ")[1].split()[0]
    metrics = MlflowClient().get_run(run_id).data.metrics
    read = list(csv.DictReader(io.StringIO(artifacts.text(run_id, "scores.csv"))))
    labels, logits, after = (
        np.array([float(each[key]) for each in read]) for key in ("is_lens", "logit", "probability")
    )
    assert metrics["brier"] == pytest.approx(brier_score_loss(labels, after))
    assert metrics["brier_before"] == pytest.approx(brier_score_loss(labels, 1 / (1 + np.exp(-logits))), abs=1e-6)
    assert metrics["auc"] == pytest.approx(roc_auc_score(labels, logits))
    assert metrics["ece"] < metrics["ece_before"] or metrics["log_loss"] < metrics["log_loss_before"]
    assert "not measured" in told
    for name in ("calibration.html", "roc.html"):
        assert artifacts.has(run_id, name), name

    version = models.load(told.split("registered as ")[1].strip(), CPU)
    assert version.about["calibrated_from"] == f"{best['run_id']}/model"
    flux = np.stack([read_cutout(each.paths) for each in scan(trained / "other").objects[:65]])
    before, (again, probabilities) = (find(each.finder, flux, CPU) for each in (models.load(uri, CPU), version))
    np.testing.assert_allclose(again, before[0], atol=1e-6)
    assert (np.argsort(probabilities) == np.argsort(before[1])).all()

    told = call("calibrate", "--model", f"runs:/{run_id}/model", "--data", "other", "--method", "isotonic").stdout
    assert "trained on them: 130 objects" in told, "those it was calibrated with count as seen"


def test_the_champion_calibrated_takes_its_place_where_its_probabilities_are_truer(call: Call) -> None:
    call("registry", "promote", "--study", "train-space", "--force", "to calibrate it")
    told = call("calibrate", "--model", "models:/lens-finder-space@champion", "--data", "other").stdout
    run_id = told.split("recorded as run ")[1].split()[0]
    truer = MlflowClient().get_run(run_id).data.metrics["brier_change_high"] < 0
    judged = call("registry", "gate", run_id, expect=0 if truer else 1).stdout
    assert "logits of the champion yes" in " ".join(judged.split())
    assert f"probabilities truer beyond noise {'yes' if truer else 'NO'}" in " ".join(judged.split())
    assert "auc better" not in judged


def test_probabilities_of_an_evaluation_are_those_of_the_share_of_lenses(call: Call, tmp_path: Path) -> None:
    uri = f"runs:/{rows(call)[0]['run_id']}/model"
    for name, options in (("own", ()), ("sky", ("--prevalence", "0.001"))):
        told = call("evaluate", "--model", uri, "--data", "other", "--out", str(tmp_path / name), *options).stdout
    assert "At a share of 0.001 lenses" in told
    assert artifacts.has(told.split()[-1], "survey.html")
    own, sky = (list(csv.DictReader((tmp_path / name).open())) for name in ("own", "sky"))
    assert [each["logit"] for each in own] == [each["logit"] for each in sky]
    before, after = (np.array([float(each["probability"]) for each in some]) for some in (own, sky))
    model = models.load(uri, CPU)
    share = share_of(uri, model)
    assert share == pytest.approx(141 / 200, abs=0.01)
    np.testing.assert_allclose(after, corrected(before, share, 0.001))
    told = call("evaluate", "--model", uri, "--data", "other", "--prevalence", "1", expect=2).stderr
    assert "not in the range 0<x<1" in told
    with pytest.raises(TrackingError, match="not on record at what share of lenses"):
        share_of(uri, model._replace(about={}))


def test_too_few_unseen_objects_and_the_other_set_are_refused(
    call: Call, small_space: Path, small_ground: Path
) -> None:
    uri = f"runs:/{rows(call)[0]['run_id']}/model"
    told = call("calibrate", "--model", uri, "--data", str(small_space), expect=2).stderr
    assert "28 labelled lenses that the model was not trained on, and 40 are needed (160 of 200" in told
    assert "a ground set" in call("calibrate", "--model", uri, "--data", str(small_ground), expect=2).stderr


def test_a_model_is_written_for_other_programs(
    call: Call, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"runs:/{rows(call)[0]['run_id']}/model"
    assert "MB, scores within" in call("export", "--model", uri, "--out", str(tmp_path / "a.onnx")).stdout
    call("export", "--model", uri, "--out", str(tmp_path / "a.pt2"))
    flux = np.stack([read_cutout(each.paths) for each in scan(trained / "other").objects[:65]])
    session = onnxruntime.InferenceSession(str(tmp_path / "a.onnx"), providers=["CPUExecutionProvider"])
    logits, probabilities = session.run(["logit", "probability"], {"flux": flux})
    written = torch.export.load(tmp_path / "a.pt2").module()
    for finder in (models.load(uri, CPU).finder, written):
        expected = find(finder, flux, CPU)
        np.testing.assert_allclose(logits, expected[0], atol=1e-5)
        np.testing.assert_allclose(probabilities, expected[1], atol=1e-5)
    told = call("export", "--model", uri, "--out", str(tmp_path / "a.h5"), expect=2).stderr
    assert "no format '.h5' (allowed: .onnx, .pt2)" in told
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    told = call("export", "--model", uri, "--out", str(tmp_path / "b.onnx"), expect=2).stderr
    assert "ONNX needs onnxruntime (pip install 'lens-orchestrator[onnx]')" in told
