"""Sweeps on a real Optuna store: what is done stays done, what was interrupted goes on, and what fails is told."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import mlflow
import numpy as np
import pytest

from orchestrator.learning.training import Epoch
from orchestrator.studies import storage
from orchestrator.studies import sweep as sweeps
from orchestrator.studies.bench import Bench
from orchestrator.studies.study import Study
from orchestrator.tracking import records, runs, store
from tests.studies.conftest import NORMALISATION, study

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


class Interrupted(KeyboardInterrupt):
    """Stands for whatever ends a process, such as a Ctrl-C."""


def sweep(bench: Bench, asked: Study, stop_at: int | None = None) -> tuple[list[int], list[str]]:
    """The epochs that were trained, and the failures; ends like a crash after `stop_at` epochs."""
    trained: list[int] = []

    def watch(_architecture: str, _trial: int, epoch: Epoch, _done: int) -> None:
        trained.append(epoch.number)
        if len(trained) == stop_at:
            raise Interrupted

    parent = sweeps.begin(bench.experiment, asked)
    failures: list[str] = []
    try:
        with runs.running(parent):
            failures = sweeps.sweep(asked, storage.connect(), bench, parent, watch)
    except Interrupted:
        pass
    return trained, failures


def results(bench: Bench) -> list[tuple[str, int, dict[str, float]]]:
    exact = ("auc", "tpr", "fpr", "tpr0", "tpr10", "val_auc", "loss")
    return [(row.model, row.epochs, {key: row.metrics[key] for key in exact}) for row in records.rows(bench.study)]


def test_a_sweep_that_was_interrupted_goes_on_and_ends_as_if_it_had_not_been(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sweep(bench, study(), stop_at=2)[0] == [1, 2]
    assert sweep(bench, study())[0] == [3]
    interrupted = results(bench)
    trials = mlflow.search_runs(["0", bench.experiment], "tags.kind = 'trial'", output_format="list")
    assert [run.info.status for run in trials] == ["FINISHED"]
    history = mlflow.MlflowClient().get_metric_history(trials[0].info.run_id, "loss")
    assert [point.step for point in history] == [1, 2, 3]

    other = tmp_path / "undisturbed"
    other.mkdir()
    monkeypatch.chdir(other)
    store.connect("sqlite:///mlflow.db")
    undisturbed = Bench(bench.cutouts, None, bench.device, store.experiment("small"), "small")
    assert sweep(undisturbed, study())[0] == [1, 2, 3]
    assert results(undisturbed) == interrupted


def test_more_trials_are_added_to_those_that_are_done(bench: Bench) -> None:
    search = {"vary": {"learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}}, "search": "random"}
    assert len(sweep(bench, study(epochs=[1], trials=2, **search))[0]) == 2
    assert len(sweep(bench, study(epochs=[1], trials=3, **search))[0]) == 1
    table = records.rows(bench.study)
    (state,) = storage.states(storage.connect())
    assert (len(table), state.complete, state.running) == (3, 3, 0)
    rates = {mlflow.get_run(row.run_id).data.params["learning_rate"] for row in table}
    assert len(rates) == 3  # a sampler begun again with its seed would repeat the first draw


def test_a_training_that_fails_is_told_and_the_others_go_on(bench: Bench) -> None:
    good = bench.cutouts[NORMALISATION]
    broken = dataclasses.replace(good, pixels=np.full_like(good.pixels, np.nan))
    mixed = dataclasses.replace(bench, cutouts={"zscale": broken, NORMALISATION: good})
    asked = study(epochs=[1], vary={"normalisation": {"choices": ["zscale", NORMALISATION]}})
    trained, failures = sweep(mixed, asked)
    assert trained == [1]
    (failure,) = failures
    assert "lens_flow trial 0: lens_flow diverged in epoch 1, with a loss of nan" in failure
    (state,) = storage.states(storage.connect())
    assert (state.complete, state.failed, state.waiting) == (1, 1, 0)
    assert sweep(mixed, asked) == ([], failures)  # told again, and not tried again
