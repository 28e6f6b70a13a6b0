"""A study that is begun with the finished trainings of another, on made-up trainings and on real stores."""

from __future__ import annotations

import dataclasses

import optuna
import pytest
from click.testing import CliRunner

from orchestrator.cli import main
from orchestrator.errors import StudyError
from orchestrator.studies import storage
from orchestrator.studies.bench import Bench
from orchestrator.studies.fork import Training, fits, fork
from orchestrator.studies.study import Study
from orchestrator.tracking import artifacts, models, records, registry
from tests.studies.conftest import study
from tests.studies.test_worker import RATES, swept

pytestmark = pytest.mark.filterwarnings("ignore")

OLD = {"epochs": [1, 2, 4], "search": "promote", "trials": 4, "vary": RATES}


def narrowed(low: float, **more: object) -> Study:
    rates = {"learning_rate": {"low": low, "high": 1e-2, "log": True}}
    return study(**{**OLD, "name": "new", "vary": rates, **more})


def training(rate: float, last: int) -> Training:
    return Training(0, {"learning_rate": rate}, dict.fromkeys(range(1, last + 1), 0.5), None)


@pytest.mark.parametrize(
    ("changed", "rate", "last", "fit"),
    [
        ({}, 3e-3, 2, True),
        ({}, 3e-4, 2, False),  # out of the narrowed range
        ({}, 1e-2, 3, False),  # was stopped between two counts
        ({"epochs": [1, 2, 4, 8]}, 3e-3, 4, True),
        ({"epochs": [1, 3, 4]}, 3e-3, 1, True),
        ({"epochs": [1, 3, 4]}, 3e-3, 4, False),  # it has no row at 3
        ({"fixed": {"seed": 6}}, 3e-3, 2, False),
        ({"fixed": {"seed": 5, "batch_size": 32}}, 3e-3, 2, True),  # what it was without saying so
        ({"maximise": "tpr10"}, 3e-3, 2, False),
        ({"search": "tpe"}, 3e-3, 2, True),
        ({"vary": {**RATES, "ema": {"choices": [0.0, 0.9]}}}, 3e-3, 2, True),  # what was usual is a choice now
        ({"vary": {**RATES, "ema": {"choices": [0.5, 0.9]}}}, 3e-3, 2, False),
        ({"vary": {}, "fixed": {"seed": 5, "learning_rate": 3e-3}}, 3e-3, 2, True),
        ({"vary": {}, "fixed": {"seed": 5, "learning_rate": 3e-3}}, 4e-3, 2, False),
    ],
)
def test_a_training_fits_where_the_new_study_could_draw_the_very_same(
    changed: dict[str, object], rate: float, last: int, fit: bool
) -> None:
    found = fits(study(**OLD), narrowed(1e-3, **changed), "lens_flow", training(rate, last))
    assert (found is not None) == fit
    if found:
        ((before, now),) = found.recipes
        assert before.digest_without("epochs") == now.digest_without("epochs")
        assert now.epochs == narrowed(1e-3, **changed).epochs[-1]


@pytest.mark.slow
def test_a_fork_goes_on_from_what_was_finished_and_trains_none_of_it_again(bench: Bench) -> None:
    swept(bench, study(**{**OLD, "epochs": [1, 2]}))
    before = {(row.epochs, row.settings["learning_rate"]): row for row in records.rows("small")}
    rates = sorted({float(row.settings["learning_rate"]) for row in before.values()})
    asked = narrowed((rates[0] + rates[1]) / 2, epochs=[1, 2, 4])
    there = dataclasses.replace(bench, study="new")
    told = fork(asked, "small", storage.connect(), there)
    assert told == "forked from small with 3 of its finished trainings; 1 do not fit"
    assert fork(asked, "small", storage.connect(), there) is None
    kept = {key: row for key, row in before.items() if float(key[1]) > rates[0]}
    after = {(row.epochs, row.settings["learning_rate"]): row for row in records.rows("new")}
    assert after.keys() == kept.keys()
    for key, row in after.items():
        assert row.metrics == kept[key].metrics
        assert artifacts.text(row.run_id, "scores.csv") == artifacts.text(kept[key].run_id, "scores.csv")

    version = registry.register(registry.best_row("new", "val_auc"), {})  # the model is where it was
    assert version.run_id in {row.run_id for row in after.values()}
    models.load(version.uri, bench.device)

    untouched = {each.run_id: each.curves for each in records.trials("small")}
    trained, failures = swept(there, asked)
    assert failures == []
    table = records.rows("new")
    assert len([row for row in table if row.epochs == 1]) == 4  # one was drawn anew
    (longest,) = [row for row in table if row.epochs == 4]
    assert [epoch for _, epoch in trained if epoch > 2] == [3, 4]  # the rest of it was copied
    assert {each.run_id: each.curves for each in records.trials("small")} == untouched
    reached = {len(each.curves["loss"]) for each in records.trials("new")}
    assert {1, 4} <= reached
    alone = dataclasses.replace(bench, study="alone")
    rate = float(longest.settings["learning_rate"])
    swept(alone, study(name="alone", epochs=[4], fixed={"seed": 5, "learning_rate": rate}))
    (same,) = records.rows("alone")
    assert artifacts.text(same.run_id, "scores.csv") == artifacts.text(longest.run_id, "scores.csv")
    assert swept(there, asked) == ([], [])

    shown = CliRunner().invoke(main, ["studies", "show", "new"])
    assert "forked from small" in shown.output


@pytest.mark.slow
def test_what_another_kind_of_search_has_stopped_goes_on(bench: Bench) -> None:
    swept(bench, study(epochs=[1, 2], search="promote", trials=2, vary=RATES))
    asked = study(name="new", epochs=[1, 2], search="random", trials=2, vary=RATES)
    there = dataclasses.replace(bench, study="new")
    assert fork(asked, "small", storage.connect(), there)
    trained, _ = swept(there, asked)
    assert {epoch for _, epoch in trained} == {2}
    (state,) = [each for each in storage.states(storage.connect()) if each.study == "new"]
    assert (state.complete, state.waiting) == (2, 0)


@pytest.mark.slow
def test_a_fork_that_was_killed_half_way_copies_nothing_twice(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    old = {**OLD, "epochs": [1, 2], "trials": 2}
    swept(bench, study(**old))
    asked, there, trials = study(**{**old, "name": "new"}), dataclasses.replace(bench, study="new"), storage.connect()
    add, added = optuna.Study.add_trial, []

    def killed(searched: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        if added:
            raise KeyboardInterrupt
        added.append(trial)
        add(searched, trial)

    with monkeypatch.context() as patch:
        patch.setattr(optuna.Study, "add_trial", killed)
        with pytest.raises(KeyboardInterrupt):
            fork(asked, "small", trials, there)
    assert fork(asked, "small", trials, there)
    assert len(records.trials("new")) == len(records.trials("small")) == 2
    assert len(records.rows("new")) == len(records.rows("small"))
    assert len(optuna.load_study(study_name="new/lens_flow", storage=trials).trials) == 2


@pytest.mark.slow
def test_a_fork_is_refused_by_name(bench: Bench) -> None:
    there = dataclasses.replace(bench, study="new")
    with pytest.raises(StudyError, match="no study that was begun 'small'"):
        fork(narrowed(1e-3), "small", storage.connect(), there)
    swept(bench, study(epochs=[1], search="random", trials=2, vary=RATES))
    with pytest.raises(StudyError, match="none of the 2 finished trainings of 'small' fits"):
        fork(narrowed(1e-3, fixed={"seed": 6}), "small", storage.connect(), there)
    with pytest.raises(StudyError, match="--fork small: there is a study of that name, begun from a study file"):
        fork(study(**OLD), "small", storage.connect(), bench)
    assert fork(study(**{**OLD, "name": "new"}), "small", storage.connect(), there)
    with pytest.raises(StudyError, match="begun from small; choose another"):
        fork(study(**{**OLD, "name": "new"}), "other", storage.connect(), there)
