"""One training, all epoch counts; what is added to it later; and the rows of running averages. On real stores."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from orchestrator.errors import RecipeError, TrackingError
from orchestrator.reports.results import Row, Trial
from orchestrator.studies import extension, storage
from orchestrator.studies import sweep as sweeps
from orchestrator.studies.bench import Bench
from orchestrator.studies.study import Study
from orchestrator.studies.trial import CHECKPOINTS
from orchestrator.tracking import artifacts, models, records, runs, store
from tests.studies.conftest import NORMALISATION, study

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

ALWAYS = {"to": [5, 6], "gain": -0.0, "rise": 1e9, "gap": 1.0}


def swept(bench: Bench, asked: Study) -> list[Row]:
    """The rows of a study, in a store of their own."""
    parent = sweeps.begin(bench.experiment, asked)
    with runs.running(parent):
        assert sweeps.sweep(asked, storage.connect(), bench, parent, lambda *_: None) == []
    return records.rows(asked.name)


def elsewhere(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """The same bench with other stores."""
    other = tmp_path / "elsewhere"
    other.mkdir()
    monkeypatch.chdir(other)
    store.connect("sqlite:///mlflow.db")
    return Bench(bench.cutouts, None, bench.device, store.experiment("small"), "small")


def weights(row: Row) -> dict[str, torch.Tensor]:
    return dict(models.load(f"runs:/{row.run_id}/model", torch.device("cpu")).program.state_dict)


def test_the_row_at_two_epochs_is_a_training_that_was_asked_for_two(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ladder = swept(bench, study(epochs=[1, 2, 3]))
    loaded = [weights(row) for row in ladder]
    assert [row.epochs for row in ladder] == [1, 2, 3]
    texts = [artifacts.text(row.run_id, "scores.csv") for row in ladder]
    (alone,) = swept(elsewhere(bench, tmp_path, monkeypatch), study(epochs=[2]))
    assert artifacts.text(alone.run_id, "scores.csv") == texts[1] != texts[2]
    assert all(torch.equal(each, loaded[1][key]) for key, each in weights(alone).items())


def test_with_a_cosine_each_count_is_a_training_of_its_own(bench: Bench) -> None:
    rows = swept(bench, study(epochs=[1, 3], fixed={"schedule": "cosine"}))
    assert [(row.epochs, row.settings["schedule"]) for row in rows] == [(1, "cosine"), (3, "cosine")]
    assert len({row.trial for row in rows}) == 2
    assert len({row.family for row in rows}) == 1
    (state,) = storage.states(storage.connect())
    assert state.complete == 1


def test_a_running_average_has_a_row_beside_that_of_the_raw_weights(bench: Bench) -> None:
    rows = swept(bench, study(epochs=[2], fixed={"ema": 0.9}))
    assert [row.weights for row in rows] == ["ema", "raw"]
    assert all({"auc", "val_auc", "auc_low"} <= row.metrics.keys() for row in rows)
    averaged, raw = map(weights, rows)
    assert not all(torch.equal(averaged[key], raw[key]) for key in raw)


def extend(bench: Bench, asked: Study) -> tuple[list[tuple[int, bool]], list[int]]:
    decided: list[tuple[int, bool]] = []
    trained: list[int] = []

    def told(_trial: Trial, to: int, decision: extension.Decision) -> None:
        decided.append((to, decision.extend))

    extension.extend_study(asked, bench, told, lambda _trial, epoch: trained.append(epoch.number))
    return decided, trained


def test_what_earns_it_is_extended_as_a_child_to_what_a_longer_training_gives(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = study(epochs=[1, 2, 4], extension=ALWAYS)
    (before, *_) = swept(bench, asked)
    monkeypatch.setattr(extension, "decide", lambda *_: extension.Decision(True, "for the test", {"gain": 0.5}))
    assert extend(bench, asked) == ([(5, True), (6, True)], [5, 6])
    assert extend(bench, asked) == ([], [])  # what is done stays done
    base, first, second = records.trials("small")
    assert (first.extends, second.extends) == (base.run_id, first.run_id)
    assert first.tags["mlflow.parentRunId"] == base.run_id
    assert base.tags["extension"] == "extended to 5: for the test"
    assert base.tags["extension.gain"] == "0.5"
    assert [step for step, _ in first.curves["loss"]] == [5]
    rows = records.rows("small")
    assert [row.epochs for row in rows] == [1, 2, 4, 5, 6]
    assert {row.family for row in rows} == {before.family}
    assert not list(Path(CHECKPOINTS).rglob("*.pt"))  # they are attached to their runs
    last, texts = weights(rows[-1]), artifacts.text(rows[-1].run_id, "scores.csv")

    (whole,) = swept(elsewhere(bench, tmp_path, monkeypatch), study(epochs=[6]))
    assert artifacts.text(whole.run_id, "scores.csv") == texts
    assert all(torch.equal(each, last[key]) for key, each in weights(whole).items())


def test_what_does_not_earn_it_is_not_extended_and_its_figures_are_recorded(bench: Bench) -> None:
    asked = study(epochs=[1, 2, 5], extension={"to": [6], "gain": 1e9})
    swept(bench, asked)
    assert extend(bench, asked) == ([(6, False)], [])
    (trial,) = records.trials("small")
    assert trial.tags["extension"].startswith("not extended to 6: val_auc is about to gain")
    assert float(trial.tags["extension.noise"]) > 0


def test_an_extension_that_was_interrupted_goes_on(bench: Bench) -> None:
    swept(bench, study(epochs=[1]))
    (base,) = records.trials("small")

    def interrupt(epoch: object) -> None:
        if getattr(epoch, "number", 0) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extension.extend(base, [2, 4], bench, interrupt)
    again: list[int] = []
    extension.extend(base, [2, 4], bench, lambda epoch: again.append(epoch.number))
    assert again == [4]
    assert [row.epochs for row in records.rows("small")] == [1, 2, 4]


def test_an_extension_that_cannot_be_is_refused(bench: Bench) -> None:
    swept(bench, study(epochs=[2], fixed={"schedule": "cosine"}))
    (trial,) = records.trials("small")
    with pytest.raises(RecipeError, match="has had 2 epochs already; --to asks for 2"):
        extension.extend(trial, [2, 3], bench, lambda _: None)
    with pytest.raises(RecipeError, match="its cosine schedule ended at 2 epochs"):
        extension.extend(trial, [3], bench, lambda _: None)
    with pytest.raises(TrackingError, match="nothing: no such run"):
        records.trial("nothing")


def test_a_model_is_recorded_that_scores_as_the_network_did(bench: Bench) -> None:
    (row,) = swept(bench, study(epochs=[1]))
    cutouts = bench.cutouts[NORMALISATION]
    scores = artifacts.scores(row.run_id)
    rows = [int((cutouts.ids == int(each)).argmax()) for each in scores.ids]
    with torch.inference_mode():
        logits = models.load(f"runs:/{row.run_id}/model", bench.device).network(torch.tensor(cutouts.pixels[rows]))
    torch.testing.assert_close(logits.double(), torch.tensor(scores.scores), atol=1e-4, rtol=0)
