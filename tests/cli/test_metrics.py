"""`orchestrator metrics` on lists of scores."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from tests.cli.calling import Call


@pytest.fixture
def saturated(tmp_path: Path) -> tuple[Path, np.ndarray, np.ndarray]:
    """Probabilities so near to 1 that a grid of thresholds cannot tell them apart."""
    rng = np.random.default_rng(0)
    labels = (np.arange(600) % 2).astype(int)
    probabilities = 1 / (1 + np.exp(-(rng.normal(labels * 3, 1) + 12)))
    lines = [
        f"{100 + n},{label},{p!r}" for n, (label, p) in enumerate(zip(labels, probabilities.tolist(), strict=True))
    ]
    file = tmp_path / "scores.csv"
    file.write_text("ID,is_lens,probs\n" + "\n".join(lines) + "\n")
    return file, labels, probabilities


def test_the_exact_metrics_see_what_a_grid_cannot(call: Call, saturated: tuple[Path, np.ndarray, np.ndarray]) -> None:
    file, labels, probabilities = saturated
    told = json.loads(call("metrics", str(file), "--score", "probs", "--grid", "--json").stdout)
    assert told["auc"] == pytest.approx(roc_auc_score(labels, probabilities))
    highest = np.sort(probabilities[labels == 0])[-11]
    assert told["tpr10"] == pytest.approx((probabilities[labels == 1] > highest).mean())
    assert told["tpr10"] > 0.5
    assert (told["tpr"], told["fpr"]) == (1, 1)  # every probability is above one half
    assert {grid["tpr10"] for grid in told["grids"].values()} == {0}
    assert told["intervals"]["auc"][0] < told["auc"] < told["intervals"]["auc"][1]


def test_a_person_is_told_counts_metrics_and_what_was_left_out(
    call: Call, saturated: tuple[Path, np.ndarray, np.ndarray]
) -> None:
    file, *_ = saturated
    key = file.with_name("key.csv")
    key.write_text("ID,is_lens\n" + "".join(f"{each},{each % 2}\n" for each in range(100, 698)) + "5,1\n")
    told = call("metrics", str(file), "--labels", str(key), "--score", "probs").stdout
    assert "299 lenses, 299 others; probabilities" in told
    assert "1 without a score: 5" in told
    assert "2 without a label: 698, 699" in told
    assert "95% interval" in told


def test_logits_are_not_walked_on_a_grid(call: Call, tmp_path: Path) -> None:
    file = tmp_path / "scores.csv"
    file.write_text("ID,is_lens,logit\n1,1,3.5\n2,0,-2\n")
    assert "logits" in call("metrics", str(file)).stdout
    assert "outside 0 to 1" in call("metrics", str(file), "--grid", expect=2).stderr
    assert "no column 'is_lense'" in call("metrics", str(file), "--label", "is_lense", expect=2).stderr


def test_a_column_of_logits_is_one_even_where_all_lie_from_0_to_1(call: Call, tmp_path: Path) -> None:
    file = tmp_path / "scores.csv"
    file.write_text("ID,is_lens,logit,p\n1,1,0.2,0.2\n2,0,0.1,0.1\n")
    found = {
        words: json.loads(call("metrics", str(file), "--json", *words.split()).stdout)["tpr"]
        for words in ("", "--score p", "--scale probability")
    }
    assert found == {"": 1, "--score p": 0, "--scale probability": 0}


@pytest.mark.parametrize(("label", "lacking"), [(1, "others"), (0, "lenses")])
def test_what_one_class_cannot_tell_is_said_and_is_null(call: Call, label: int, lacking: str, tmp_path: Path) -> None:
    file = tmp_path / "scores.csv"
    file.write_text("id,is_lens,logit\n" + "".join(f"{n},{label},{n - 3.5}\n" for n in range(8)))
    assert f"no {lacking}: what needs them is not defined" in call("metrics", str(file)).stdout
    printed = call("metrics", str(file), "--json").stdout
    told = json.loads(printed, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert [told[name] for name in ("auc", "tpr0", "tpr10")] == [None] * 3
    assert told["intervals"]["auc"] == [None, None]
    rate, other = ("tpr", "fpr") if label else ("fpr", "tpr")
    assert (told[rate], told[other], told["accuracy"]) == (0.5, None, 0.5)


def test_files_with_no_object_in_common_are_refused_with_an_example_of_each(call: Call, tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text("id,logit\nEUCL-1,0.5\n")
    (tmp_path / "key.csv").write_text("ID,is_lens\n100000,1\n")
    told = call("metrics", str(tmp_path / "own.csv"), "--labels", str(tmp_path / "key.csv"), expect=2).stderr
    assert told.count("\n") == 1
    assert "identifiers such as 'EUCL-1' here and '100000' there" in told


def test_one_of_several_columns_of_scores_is_named(call: Call, tmp_path: Path) -> None:
    (tmp_path / "s.tsv").write_text("ID\tis_lens\tp_cnn\tp_resnet\n1\ttrue\t.9\t.1\n2\tfalse\t.2\t.8\n")
    for column, auc in (("p_cnn", 1), ("P_ResNet", 0)):
        assert json.loads(call("metrics", str(tmp_path / "s.tsv"), "--score", column, "--json").stdout)["auc"] == auc
    told = call("metrics", str(tmp_path / "s.tsv"), expect=2).stderr
    assert "no column 'logit' (allowed: ID, is_lens, p_cnn, p_resnet)" in told
