"""A worker on real stores: what is promoted pays the difference, what is drawn twice is trained once, what fails."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import mlflow
import pytest
import torch

from architectures import lens_flow
from orchestrator.errors import Refused, StudyError
from orchestrator.learning.training import Epoch
from orchestrator.studies import storage
from orchestrator.studies import sweep as sweeps
from orchestrator.studies.bench import Bench
from orchestrator.studies.overview import overview
from orchestrator.studies.study import Study
from orchestrator.studies.worker import failures
from orchestrator.tracking import artifacts, records, runs, store
from orchestrator.tracking.failures import told
from tests.studies.conftest import study

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

RATES = {"learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}}


def swept(bench: Bench, asked: Study) -> tuple[list[tuple[int, int]], list[str]]:
    """Trial and epoch of all that was trained, and the failures."""
    trained: list[tuple[int, int]] = []

    def watch(_network: str, trial: int, epoch: Epoch, _done: int) -> None:
        trained.append((trial, epoch.number))

    parent = sweeps.begin(bench.experiment, asked)
    with runs.running(parent):
        failures = sweeps.sweep(asked, storage.connect(), bench, parent, watch)
    return trained, failures


@pytest.mark.parametrize("search", ["promote", "hybrid"])
def test_a_promotion_goes_on_from_the_checkpoint_in_the_same_run(search: str, bench: Bench) -> None:
    trained, failures = swept(bench, study(epochs=[1, 2, 4], search=search, trials=4, vary=RATES))
    assert failures == []
    assert len(trained) == len(set(trained))  # no epoch of a trial twice
    trials = records.trials("small")
    assert len(trials) == 4  # a run a training, however many legs it had
    reached = sorted(len(trial.curves["loss"]) for trial in trials)
    assert reached[0] == 1
    assert reached[-1] == 4
    assert sum(reached) == len(trained) < 4 * 4
    for trial in trials:
        assert [epoch for epoch, _ in trial.curves["loss"]] == list(range(1, len(trial.curves["loss"]) + 1))
    best = max(trials, key=lambda trial: trial.curves["val_auc"][0][1])
    assert len(best.curves["loss"]) >= 2  # what was best at the first count went on
    assert swept(bench, study(epochs=[1, 2, 4], search=search, trials=4, vary=RATES)) == ([], [])
    assert {row.epochs for row in records.rows("small")} == {1, 2, 4}


def test_what_was_promoted_is_the_network_of_an_uninterrupted_training(bench: Bench) -> None:
    swept(bench, study(epochs=[1, 2, 4], search="promote", trials=4, vary=RATES))
    row = max(records.rows("small"), key=lambda row: row.epochs or 0)
    rate = float(row.settings["learning_rate"])
    other = Bench(bench.cutouts, None, bench.device, bench.experiment, "alone")
    swept(other, study(name="alone", epochs=[4], fixed={"seed": 5, "learning_rate": rate}))
    (alone,) = records.rows("alone")
    assert artifacts.text(alone.run_id, "scores.csv") == artifacts.text(row.run_id, "scores.csv")


def test_with_tpe_what_is_not_among_the_best_stops_at_a_count(bench: Bench) -> None:
    trained, _ = swept(bench, study(epochs=[1, 3], search="tpe", trials=6, vary=RATES))
    (state,) = storage.states(storage.connect())
    assert state.complete + state.stopped == 6
    assert state.stopped >= 1
    assert len(trained) == 6 + 2 * state.complete


def test_a_recipe_that_is_drawn_twice_is_trained_once(bench: Bench) -> None:
    trained, _ = swept(bench, study(epochs=[2], search="random", trials=3, vary={"batch_size": {"choices": [32]}}))
    assert trained == [(0, 1), (0, 2), (1, 2), (2, 2)]  # the last epoch is told again
    assert len(records.trials("small")) == 1
    (state,) = storage.states(storage.connect())
    assert state.complete == 3


def test_a_recipe_that_another_worker_is_at_is_left_to_it(bench: Bench) -> None:
    asked = study(epochs=[2], search="random", trials=2, vary={"batch_size": {"choices": [32]}})
    searched = sweeps.opened(asked, storage.connect(), bench)["lens_flow"]
    theirs = searched.ask()
    recipe = asked.suggest(theirs, "lens_flow")
    for key, value in {"host": platform.node(), "pid": os.getppid(), "origin": 0, "recipe": recipe.digest}.items():
        theirs.set_user_attr(key, value)
    assert swept(bench, asked) == ([], [])
    (state,) = storage.states(storage.connect())
    assert (state.running, state.stopped) == (1, 1)
    assert searched.get_trials()[1].user_attrs["same_as"] == 0


def test_a_study_says_what_it_found_and_what_mattered(bench: Bench) -> None:
    swept(bench, study(epochs=[1, 2], search="promote", trials=8, vary={**RATES, "batch_size": {"choices": [16, 64]}}))
    (found,) = overview("small", storage.connect())
    trials = records.trials("small")
    assert (found.trainings, found.at, found.compared) == (8, 2, 1)
    assert found.epochs == sum(len(trial.curves["loss"]) for trial in trials)
    assert found.best == max(trial.curves["val_auc"][1][1] for trial in trials if len(trial.curves["loss"]) > 1)
    assert sum(found.importances.values()) == pytest.approx(1)
    assert set(found.settings) == {"learning_rate", "batch_size"}
    assert list(overview("nothing", storage.connect())) == []


def test_without_the_memory_for_a_batch_half_of_it_is_tried(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    forward = lens_flow.Network.forward

    def small(network: lens_flow.Network, images: torch.Tensor) -> torch.Tensor:
        if network.training and len(images) > 10:
            raise torch.OutOfMemoryError("not enough of it")
        return forward(network, images)

    monkeypatch.setattr(lens_flow.Network, "forward", small)
    trained, failures = swept(bench, study(epochs=[1], fixed={"batch_size": 32}))
    assert (trained, failures) == ([(0, 1)], [])
    (row,) = records.rows("small")
    assert row.settings["batch_size"] == "8"


def test_failures_of_one_kind_stop_a_study_and_keep_their_traceback(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(_network: lens_flow.Network, _images: torch.Tensor) -> torch.Tensor:
        raise ArithmeticError("of no training's making")

    monkeypatch.setattr(lens_flow.Network, "forward", broken)
    with pytest.raises(StudyError, match="3 trainings failed alike: ArithmeticError: of no training's making"):
        swept(bench, study(epochs=[1], search="random", trials=9, vary=RATES))
    failed = mlflow.search_runs([bench.experiment], "tags.kind = 'trial'", output_format="list")
    assert [run.info.status for run in failed] == ["FAILED"] * 3
    assert "of no training's making" in artifacts.text(failed[0].info.run_id, "traceback.txt")


def test_a_deleted_experiment_stops_a_worker_and_fails_no_training(bench: Bench) -> None:
    store.MlflowClient().delete_experiment(bench.experiment)
    opened = storage.connect()
    with pytest.raises(Exception, match="active") as caught:
        sweeps.sweep(study(), opened, bench, "none", lambda *_: None)
    assert isinstance(told(caught.value), Refused)
    assert failures(sweeps.opened(study(), opened, bench)) == []
