"""The experiment of the paper, by the commands a person types: each of its studies at a tiny scale, to its report."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient
from sklearn.metrics import roc_auc_score

import architectures
import search_spaces
from orchestrator.cli import main
from orchestrator.studies import study as studies
from tests.cli.calling import Call

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

STUDIES = Path(search_spaces.__file__).parent

TINY = """
[scales.tiny]
data = "{data}"
epochs = {epochs}
architectures = {architectures}
{more}
[scales.tiny.fixed]
batch_size = 16
normalisation = "asinh"
"""


def tiny(name: str, data: Path, epochs: list[int], networks: list[str], more: str = "") -> None:
    """Add a scale to a study that comes along, in the working directory."""
    text = (STUDIES / f"{name}.toml").read_text()
    scale = TINY.format(data=data, epochs=epochs, architectures=json.dumps(networks), more=more)
    Path("search_spaces").mkdir(exist_ok=True)
    Path("search_spaces", f"{name}.toml").write_text(text + scale)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def table(call: Call, study: str) -> list[dict[str, Any]]:
    return list(json.loads(call("table", "--study", study, "--format", "json").stdout))


def report(call: Call, study: str) -> str:
    call("report", "--study", study, "--out", "report.html")
    client = MlflowClient()
    (run,) = client.search_runs(["1"], "tags.kind = 'study'")
    assert "report.html" in {each.path for each in client.list_artifacts(run.info.run_id)}
    return Path("report.html").read_text()


@pytest.mark.parametrize(
    ("name", "networks"), [("space-table", architectures.names()), ("ground-table", ("lastro_epfl", "lens_flow"))]
)
def test_the_table_has_all_networks_beside_what_was_published(
    name: str, networks: Sequence[str], call: Call, here: Path, tiny_space: Path, small_ground: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(
        "orchestrator.studies.row.TIMED", 4
    )  # of the slow ones more than half of the test would be their timing
    data = tiny_space if name == "space-table" else small_ground
    rule = "[scales.tiny.extension]\nto = [2]"
    tiny(name, data, [1], list(networks), rule)
    told = call("sweep", "--study", name, "--scale", "tiny").stdout
    assert "scale: tiny" in told
    rows = table(call, f"{name}-tiny")
    assert [row["model"] for row in rows] == list(networks)
    beside = call("table", "--study", f"{name}-tiny", "--beside", "paper", "--beside", "challenge").stdout
    assert beside.count("challenge") >= len(networks)
    assert "of scale tiny" in beside
    client = MlflowClient()
    trials = client.search_runs(["1"], "tags.kind = 'trial'")
    assert len(trials) == len(networks)
    assert all("not extended to 2: fewer than 4 epochs" in run.data.tags["extension"] for run in trials)
    text = report(call, f"{name}-tiny")
    assert "Scale “tiny”" in text
    assert f"sweep --study {name} --scale tiny" in text
    assert 'id="extensions"' in text
    assert all(network in text for network in networks)


def test_augmentation_is_ablated(call: Call, here: Path, tiny_space: Path) -> None:
    tiny("augmentation-ablation", tiny_space, [2, 6], ["lens_flow"])
    call("sweep", "--study", "augmentation-ablation", "--scale", "tiny")
    rows = table(call, "augmentation-ablation-tiny")
    assert sorted((row["settings"]["augment"], row["epochs"]) for row in rows) == [
        ("all", 2), ("all", 6), ("none", 2), ("none", 6),
    ]  # fmt: skip
    assert len({row["tested"] for row in rows}) == 1
    text = report(call, "augmentation-ablation-tiny")
    assert 'id="ablation"' in text
    assert "stops improving at epoch" in text


def test_consistency_over_splits_is_told(call: Call, here: Path, tiny_space: Path) -> None:
    tiny("split-consistency", tiny_space, [1, 2], ["lens_flow"])
    call("sweep", "--study", "split-consistency", "--scale", "tiny")
    rows = table(call, "split-consistency-tiny")
    assert len({row["tested"] for row in rows}) == 3
    assert len({row["family"] for row in rows}) == 1
    aucs = np.array([[row["auc"] for row in rows if row["epochs"] == epochs] for epochs in (1, 2)])
    told = call("table", "--study", "split-consistency-tiny", "--repeats").stdout
    for mean in aucs.mean(axis=1):
        assert f"{mean:.4f}" in told
    changes = np.abs(aucs[:, [0, 0, 1]] - aucs[:, [1, 2, 2]])
    said = re.search(r"AUC +changes by ([0-9.]+) % on average, by ([0-9.]+) % at most", told)
    assert said is not None
    assert [float(each) for each in said.groups()] == pytest.approx(
        [100 * changes.mean(), 100 * changes.max()], abs=0.006
    )
    assert 'id="repeats"' in report(call, "split-consistency-tiny")


@pytest.mark.parametrize("name", studies.names())
def test_a_study_at_a_small_scale_says_that_it_is(name: str) -> None:
    if name == "quickstart":
        return
    content = tomllib.loads((STUDIES / f"{name}.toml").read_text())
    small = studies.load(name, "small")
    assert small.name == f"{name}-small"
    assert small.description.startswith("SMALL SCALE")
    assert small.data.startswith("simulated-")
    assert max(small.epochs) < max(content["epochs"])


def test_two_rows_are_compared_by_the_objects_they_share(call: Call, inside: Path) -> None:
    rows = table(call, "tiny")
    one, other = rows[0], rows[3]
    told = call("compare", one["run_id"], other["run_id"]).stdout
    assert "lastro_epfl" in told
    assert f"{other['auc'] - one['auc']:+.4f}" in told
    assert "Both were tested on the same 41 objects." in told or "on the same 40 objects" in told
    study = MlflowClient().search_runs(["1"], "tags.kind = 'study'")[0].info.run_id
    assert "neither a row of a table nor an evaluation" in call("compare", study, one["run_id"], expect=2).stderr


def test_a_training_is_extended_by_hand(call: Call, here: Path, tiny_space: Path) -> None:
    options = ("--model", "lens_flow", "--data", str(tiny_space), "--normalisation", "asinh", "--no-augment")
    call("train", *options, "--batch-size", "16", "--epochs", "1")
    (row,) = table(call, "train-space")
    told = call("extend", row["run_id"], "--to", "2,3")
    assert [each["epochs"] for each in table(call, "train-space")] == [1, 2, 3]
    assert "lens_flow  epoch 3/3" in told.stderr
    assert "has had 1 epochs already" in call("extend", row["run_id"], "--to", "1", expect=2).stderr
    assert "no such run" in call("extend", "0" * 32, "--to", "2", expect=2).stderr


def test_somebody_elses_finder_stands_in_the_table(call: Call, inside: Path, tmp_path: Path) -> None:
    rows = table(call, "tiny")
    client = MlflowClient()
    scores = Path(client.download_artifacts(rows[0]["run_id"], "scores.csv", str(tmp_path)))
    options = ("--score", "probability", "--log", "a_finder", "--study", "tiny")
    call("metrics", str(scores), *options)
    finder = next(row for row in table(call, "tiny") if row["model"] == "a_finder")
    labels, values = np.loadtxt(scores, delimiter=",", skiprows=1, usecols=(1, 3)).T
    assert finder["auc"] == pytest.approx(roc_auc_score(labels, values))
    assert finder["tpr"] == pytest.approx(rows[0]["tpr"])  # at probability 0.5, not at score 0
    assert finder["names"] == rows[0]["names"]
    assert finder["tested"] != rows[0]["tested"]  # a list has no pixels
    assert "a_finder is of the same objects by identifier and label" in call("table", "--study", "tiny").stdout
    told = call("compare", rows[0]["run_id"], finder["run_id"]).stdout
    assert "the same 40 objects, by identifier and label: somebody else's scores come without pixels" in told
    assert "+0.0000 to +0.0000" in told
    assert "has rows of that name" in call("metrics", str(scores), *options, expect=2).stderr
    assert "go together" in call("metrics", str(scores), "--log", "x", expect=2).stderr
    client.delete_run(finder["run_id"])  # other tests look at the table, too


def test_what_cannot_be_reported_is_refused_by_name(call: Call, inside: Path) -> None:
    assert "no rows of a study 'nothing'" in call("report", "--study", "nothing", expect=2).stderr
    assert "no row of 'tiny' was repeated" in call("table", "--study", "tiny", "--repeats", expect=2).stderr
    assert "no scale 'tinny'" in call("sweep", "--study", "space-table", "--scale", "tinny", expect=2).stderr


def test_every_command_is_in_the_readme() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    for name in main.commands:
        assert f"orchestrator {name}" in readme
