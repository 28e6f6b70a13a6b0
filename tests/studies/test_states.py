"""What stands in Optuna's storage and in the table after interruptions: everything once, and nothing lost."""

from __future__ import annotations

import multiprocessing
import os
import platform
import sqlite3
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow
import optuna
import pytest
from optuna.trial import TrialState

from architectures import lens_flow
from orchestrator.reports.results import Row, Trial
from orchestrator.studies import doctor, extension, storage
from orchestrator.studies import sweep as sweeps
from orchestrator.studies.bench import Bench
from orchestrator.studies.overview import overview
from orchestrator.studies.search import values
from orchestrator.studies.storage import origin_of
from orchestrator.studies.study import Study
from orchestrator.studies.trial import run
from orchestrator.tracking import leftovers, records, runs, store
from tests.studies.conftest import NORMALISATION, study

pytestmark = pytest.mark.filterwarnings("ignore")

RATES = {"learning_rate": {"choices": [1e-3, 2e-3, 4e-3, 8e-3]}}
ELSEWHERE = {"host": "elsewhere", "pid": "1", "worker": "none"}
ALL_SETS: Any = SimpleNamespace(
    cutouts={NORMALISATION: SimpleNamespace(digest="0")}, test=None, data_digest="0", test_digest=None
)


def swept(bench: Bench, asked: Study) -> list[tuple[int, int]]:
    """Trial and epoch of all that was trained."""
    trained: list[tuple[int, int]] = []
    parent = sweeps.begin(bench.experiment, asked)
    with runs.running(parent):
        failures = sweeps.sweep(
            asked, storage.connect(), bench, parent, lambda _, trial, epoch, __: trained.append((trial, epoch.number))
        )
    assert failures == []
    return trained


def begun(asked: Study, bench: Any = ALL_SETS) -> optuna.Study:
    return sweeps.opened(asked, storage.connect(), bench)["lens_flow"]


def taken(searched: optuna.Study, asked: Study, **attributes: object) -> optuna.Trial:
    """A trial that a worker has taken, and what it has written down of itself."""
    trial = searched.ask()
    for key, value in {**attributes, "recipe": asked.suggest(trial, "lens_flow").digest}.items():
        trial.set_user_attr(key, value)
    return trial


def silence(searched: optuna.Study, trial: optuna.Trial) -> None:
    """Let the last sign of life of a trial be of long ago."""
    searched._storage.record_heartbeat(trial._trial_id)
    with sqlite3.connect("optuna.db") as database:
        database.execute("UPDATE trial_heartbeats SET heartbeat = '2020-01-01 00:00:00.000000'")


def test_what_gives_no_sign_of_life_is_queued_once_with_its_recipe_and_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = study(vary=RATES)
    searched = begun(asked)
    trial = taken(searched, asked, **ELSEWHERE, origin=0, until=3)
    silence(searched, trial)
    for _ in range(2):
        with storage.Claim(storage.connect()):
            storage.requeue(searched)
    trials = searched.get_trials()
    assert [each.state for each in trials] == [TrialState.FAIL, *[TrialState.WAITING] * 4]
    again = trials[-1]
    assert again.user_attrs == {"origin": 0, "until": 3, "again": 0}
    assert storage.recipe_of(again) == trial.params
    (state,) = storage.states(storage.connect())
    assert (state.waiting, state.failed) == (4, 0)


@pytest.mark.parametrize("known", [{}, {"host": platform.node()}, {"pid": "1"}])
@pytest.mark.slow
def test_what_was_left_before_its_process_was_written_down_is_queued_with_its_whole_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: dict[str, str]
) -> None:
    monkeypatch.chdir(tmp_path)
    store.connect(store.DEFAULT)
    asked = study(vary={**RATES, "batch_size": {"choices": [16, 32]}})
    searched = begun(asked)
    trial = searched.ask()
    for key, value in known.items():
        trial.set_user_attr(key, value)
    asked.vary["learning_rate"].suggest(trial, "learning_rate")  # and then it was killed
    assert not leftovers.is_dead(trial.user_attrs)
    (found,) = doctor.mend(storage.connect())
    assert "trial 0 of small/lens_flow says RUNNING" in found.what
    assert doctor.examine(storage.connect()) == []
    again = searched.get_trials()[-1]
    assert (origin_of(again), again.state) == (0, TrialState.WAITING)
    assert storage.recipe_of(again) == {"learning_rate": 1e-3, "batch_size": 16}


def test_a_sign_of_life_that_the_database_does_not_take_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = study(vary=RATES)
    searched = begun(asked)
    trial = taken(searched, asked)
    with sqlite3.connect("optuna.db") as database:
        database.execute("DROP TABLE trial_heartbeats")
    searched._storage.record_heartbeat(trial._trial_id)


def _open(ready: Any, asked: Study) -> None:
    ready.wait()
    begun(asked)


def test_processes_that_begin_a_grid_at_once_queue_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    asked = study(vary={**RATES, "batch_size": {"choices": [8, 16, 32]}})
    context = multiprocessing.get_context("fork")
    ready = context.Barrier(4)
    processes = [context.Process(target=_open, args=(ready, asked)) for _ in range(4)]
    for each in processes:
        each.start()
    for each in processes:
        each.join(120)
        assert each.exitcode == 0
    queued = [tuple(sorted(storage.recipe_of(trial).items())) for trial in begun(asked).get_trials()]
    assert len(queued) == len(set(queued)) == 12


def test_values_of_an_interrupted_training_count_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    asked = study(epochs=[1, 3], search="tpe", trials=2, vary=RATES)
    searched = begun(asked)
    for _ in range(2):  # it was interrupted after its first epoch, and again
        searched.enqueue_trial({"learning_rate": 1e-3}, user_attrs={"origin": 0})
        trial = taken(searched, asked, origin=0, host=platform.node(), pid=os.getpid())
        trial.report(0.7, 1)
        searched.tell(trial, state=TrialState.FAIL)
    assert list(values(searched.get_trials()).values()) == [{1: 0.7}]
    (state,) = storage.states(storage.connect())
    assert (state.waiting, state.failed, state.complete, state.stopped) == (1, 0, 0, 0)
    (found,) = overview("small", storage.connect())
    assert (found.trainings, found.epochs) == (1, 1)


@pytest.mark.slow
@pytest.mark.parametrize(("search", "by_optuna"), [("random", True), ("promote", False)])
def test_a_worker_takes_up_what_gives_no_sign_of_life_and_prunes_nothing(
    bench: Bench, search: str, by_optuna: bool
) -> None:
    asked = study(epochs=[1, 2], search=search, trials=2, vary={"learning_rate": {"low": 1e-4, "high": 1e-2}})
    searched = begun(asked, bench)
    first = taken(searched, asked, **ELSEWHERE, origin=0, until=asked.epochs[0 if search == "promote" else -1])
    silence(searched, first)
    if by_optuna:  # as storages of before were opened
        number = optuna.storages.RetryHeartbeatStaleTrialCallback()
        searched.tell(first.number, state=TrialState.FAIL)
        number(searched, searched.get_trials()[0])
    swept(bench, asked)
    trials = searched.get_trials()
    assert [trial.number for trial in trials if trial.state == TrialState.FAIL] == [0]
    assert not [trial for trial in trials if "same_as" in trial.user_attrs]
    assert [origin_of(trial) for trial in trials[:2]] == [0, 0]
    assert trials[1].params == first.params
    assert len({origin_of(trial) for trial in trials}) == 2
    (state,) = storage.states(storage.connect())
    assert (state.complete + state.stopped, state.waiting, state.failed) == (2, 0, 0)
    assert len(records.trials("small")) == 2
    assert Counter(row.epochs for row in records.rows("small"))[1] == 2
    assert doctor.examine(storage.connect()) == []


@pytest.mark.slow
def test_an_interrupted_leg_goes_on_in_its_own_run(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = study(epochs=[1, 4], search="promote", trials=2, vary=RATES, fixed={"seed": 5, "batch_size": 64})
    steps: list[int] = []
    forward = lens_flow.Network.forward

    def interrupted(network: lens_flow.Network, images: Any) -> Any:
        rows = len(mlflow.search_runs([bench.experiment], "tags.kind = 'row'", output_format="list"))
        if network.training and rows == 2:  # of both first legs
            steps.append(1)
            if len(steps) == 5:
                raise KeyboardInterrupt
        return forward(network, images)

    monkeypatch.setattr(lens_flow.Network, "forward", interrupted)
    with pytest.raises(KeyboardInterrupt):
        swept(bench, asked)
    monkeypatch.setattr(lens_flow.Network, "forward", forward)
    killed = mlflow.search_runs(
        [bench.experiment], "tags.kind = 'trial' and attributes.status = 'KILLED'", output_format="list"
    )
    assert len(killed) == 1
    swept(bench, asked)
    everything = mlflow.search_runs([bench.experiment], "tags.kind = 'trial'", output_format="list")
    assert len(everything) == 2
    assert {run.info.status for run in everything} == {"FINISHED"}
    assert sorted(row.epochs or 0 for row in records.rows("small")) == [1, 1, 4]
    longest = max(records.trials("small"), key=lambda trial: trial.epochs)
    assert longest.run_id == killed[0].info.run_id
    assert [epoch for epoch, _ in longest.curves["loss"]] == [1, 2, 3, 4]
    assert doctor.examine(storage.connect()) == []


@pytest.mark.slow
def test_a_training_begun_once_more_has_its_rows_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = study().recipe("lens_flow", {})
    for _ in range(2):
        given = mlflow.MlflowClient().create_run(bench.experiment).info.run_id
        monkeypatch.setenv("MLFLOW_RUN_ID", given)  # as `mlflow run` does
        list(run(recipe, [1, 3], bench, None, "lens_flow"))
        rows = records.rows("small")
        assert [(row.epochs, row.trial) for row in rows] == [(1, given), (3, given)]
        assert [trial.run_id for trial in records.trials("small")] == [given]


def _rows() -> list[int]:
    return [row.epochs or 0 for row in records.rows("small")]


def _extend(base: Trial, bench: Bench) -> None:
    extension.extend(base, [3], bench, lambda _: None)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("by_hand", "wanted", "expected"),
    [
        ([[3]], [2, 3], [1, 2, 3]),
        ([[2]], [3, 4], [1, 2, 3, 4]),
        ([[2, 3]], [2, 3], [1, 2, 3]),
        ([[3]], [2], [1, 2, 3]),
        ([[3], [2, 3], [2, 4]], [3], [1, 2, 3, 4]),
    ],
)
def test_rows_of_an_extension_by_hand_are_used_and_those_that_are_missing_are_trained(
    bench: Bench,
    monkeypatch: pytest.MonkeyPatch,
    by_hand: list[list[int]],
    wanted: list[int],
    expected: list[int],
) -> None:
    asked = study(epochs=[1], extension={"to": wanted})
    swept(bench, asked)
    (base,) = records.trials("small")
    for counts in by_hand:
        extension.extend(base, counts, bench, lambda _: None)
    told: list[str] = []

    def tell(_: Trial, to: int, decision: extension.Decision) -> None:
        told.append(decision.tags(to)["extension"])

    monkeypatch.setattr(extension, "decide", lambda *_: extension.Decision(False, "for the test", {}))
    before = _rows()
    extension.extend_study(asked, bench, tell, lambda *_: None)
    missing = [count for count in wanted if count not in before]
    beyond = [count for count in missing if count < max(before)]
    assert _rows() == before
    assert len(told) == bool(missing)
    assert [line.startswith("not extended") for line in told] == [not beyond] * len(told)
    monkeypatch.setattr(extension, "decide", lambda *_: extension.Decision(True, "for the test", {}))
    for _ in range(2):
        extension.extend_study(asked, bench, tell, lambda *_: None)
        assert _rows() == expected
    assert len({row.family for row in records.rows("small")}) == 1


@pytest.mark.slow
def test_two_processes_that_extend_one_training_extend_it_once(bench: Bench) -> None:
    swept(bench, study(epochs=[1]))
    (base,) = records.trials("small")
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_extend_elsewhere, args=(base, bench, Path.cwd())) for _ in range(2)]
    for each in processes:
        each.start()
    for each in processes:
        each.join(240)
        assert each.exitcode == 0
    rows: list[Row] = records.rows("small")
    assert [row.epochs for row in rows] == [1, 3]
    assert len(mlflow.search_runs([bench.experiment], "tags.kind = 'trial'", output_format="list")) == 2


def _extend_elsewhere(base: Trial, bench: Bench, folder: Path) -> None:
    from tests.studies.conftest import Small

    lens_flow.Network = Small  # type: ignore[misc,assignment]
    os.chdir(folder)
    store.connect()
    _extend(base, bench)
