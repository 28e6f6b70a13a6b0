"""How far a study is, from trials that are made up."""

from __future__ import annotations

import io
from datetime import datetime, timedelta

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console

from orchestrator.cli.progress import as_board
from orchestrator.studies.standing import standing
from tests.studies.test_search import study

NOW = datetime(2030, 1, 1, 12)


def trial(number: int, state: TrialState, epochs: range, seconds: float, **about: object) -> FrozenTrial:
    """A trial that was begun so many seconds ago, and took them if it is finished."""
    made = optuna.trial.create_trial(
        state=state, value=0.5 if state == TrialState.COMPLETE else None,
        intermediate_values={epoch: epoch / 100 for epoch in epochs}, user_attrs={"origin": number, **about},
    )  # fmt: skip
    made.number = number
    made.datetime_start = NOW - timedelta(seconds=seconds)
    made.datetime_complete = NOW if state.is_finished() else None
    return made


def test_each_worker_and_the_study_are_told_with_the_time_they_have_left() -> None:
    asked = study("promote", 8)  # 8 trainings to 5, 4 to 10, 2 to 25: 40 + 20 + 30 epochs
    trials = [
        trial(0, TrialState.PRUNED, range(1, 6), 50, until=5),
        trial(1, TrialState.RUNNING, range(1, 4), 30, until=5, pid=17, host="one"),
        trial(2, TrialState.RUNNING, range(0), 4, until=5, pid=18, host="two"),
        trial(0, TrialState.RUNNING, range(6, 8), 20, until=10, pid=19, host="one"),
    ]
    found = standing(asked, {"lens_flow": trials}, NOW)
    assert [(leg.worker, leg.trial, leg.epoch, leg.until) for leg in found.legs] == [
        ("17 on one", 1, 3, 5), ("18 on two", 2, 0, 5), ("19 on one", 0, 7, 10),
    ]  # fmt: skip
    assert [leg.value for leg in found.legs] == [0.03, None, 0.07]
    assert [leg.left for leg in found.legs] == [pytest.approx(20), None, pytest.approx(30)]
    assert (found.done, found.expected) == (10, 90)
    assert found.left == pytest.approx(80 * 10 / 3)  # ten seconds an epoch, three workers

    told = io.StringIO()
    Console(file=told, width=100).print(as_board("Study s", found))
    lines = told.getvalue().splitlines()
    assert lines[0].rstrip() == "Study s: 10 of about 90 epochs, 0:04:27 left"
    assert lines[2].split() == ["17", "on", "one", "lens_flow", "1", "3/5", "0.0300", "0:00:20"]
    assert lines[3].split() == ["18", "on", "two", "lens_flow", "2", "0/5", "-", "unknown", "time"]


def test_before_the_first_epoch_nothing_is_known_of_the_time() -> None:
    found = standing(study("random", 3), {"lens_flow": []}, NOW)
    assert (found.legs, found.done, found.expected, found.left) == ([], 0, 75, None)


def test_nothing_more_is_expected_of_a_network_that_was_dropped() -> None:
    asked = study("promote", 8)
    begun = [trial(0, TrialState.PRUNED, range(1, 6), 50, until=5)]
    trials = {"lens_flow": begun, "wsi_net": begun}
    found = standing(asked, trials, NOW, dropped={"wsi_net": "worse"})
    assert (found.done, found.expected) == (10, 90 + 5)
    assert found.left == pytest.approx(85 * 10)
