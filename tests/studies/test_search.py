"""What a study trains next, on trials whose values are made up."""

from __future__ import annotations

from collections import Counter

import numpy as np
import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from orchestrator.studies.search import (
    LEGS,
    More,
    New,
    Queued,
    Wait,
    draw,
    enqueue,
    next_step,
    origin_of,
    survives,
    trainings,
    until,
)
from orchestrator.studies.storage import requeue
from orchestrator.studies.study import Study

RUNGS = [5, 10, 25]


def study(search: str, trials: int = 8, **more: object) -> Study:
    values = {"name": "s", "data": "x", "architectures": ["lens_flow"], "epochs": RUNGS, "search": search}
    vary = {"learning_rate": {"low": 1e-4, "high": 1e-2}}
    return Study.model_validate({**values, "trials": trials, "vary": vary, **more})


def simulate(asked: Study, workers: int = 1, killed: int | None = None) -> tuple[list[FrozenTrial], int]:
    """Run a study whose training at rate r has the value r + rung / 1e6; returns trials and epochs spent.

    Of one worker that trial is killed when it has begun, and queued again.
    """
    searched = optuna.create_study(direction=asked.direction)
    running: list[optuna.Trial] = []
    spent = 0

    def finish(trial: optuna.Trial) -> int:
        last = until(asked, trial)
        begun = RUNGS[RUNGS.index(last) - 1] if asked.search in LEGS and last > RUNGS[0] else 0
        trial.report(trial.params["learning_rate"] + last / 1e6, last)
        complete = last == RUNGS[-1]
        searched.tell(
            trial, trial.params["learning_rate"] if complete else None,
            state=TrialState.COMPLETE if complete else TrialState.PRUNED,
        )  # fmt: skip
        return last - begun

    for _ in range(1000):
        trials = searched.get_trials(deepcopy=False)
        step = next_step(asked, "lens_flow", trials)
        if step is None and not running:
            break
        if step is None or isinstance(step, Wait) or len(running) == workers:
            spent += finish(running.pop(0))
            continue
        enqueue(asked, "lens_flow", step, searched)
        trial = searched.ask()
        asked.suggest(trial, "lens_flow")
        trial.set_user_attr("origin", origin_of(trial))
        trial.set_user_attr("until", until(asked, trial))
        if trial.number == killed:
            requeue(searched, dead=lambda _: True)
        else:
            running.append(trial)
    assert not running
    return searched.get_trials(deepcopy=False), spent


@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("search", ["promote", "hybrid"])
def test_halving_trains_as_many_as_asked_for_and_the_best_of_them_to_the_end(search: str, workers: int) -> None:
    trials, spent = simulate(study(search, 16), workers)
    assert len({origin_of(trial) for trial in trials}) == 16
    best = max(trials, key=lambda trial: trial.params["learning_rate"])
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    assert best.params in [trial.params for trial in complete]
    reached = Counter(max(each.intermediate_values) for each in trials)
    assert reached[5] == 16
    assert reached[10] >= 8  # asynchronous: some go on that later turn out not to be among the best
    assert 4 <= reached[25] <= reached[10] <= 12
    assert spent < 16 * 25 * 0.6


def test_no_training_goes_to_a_rung_twice() -> None:
    trials, _ = simulate(study("promote", 16), 3)
    legs = Counter((origin_of(trial), trial.user_attrs["until"]) for trial in trials)
    assert max(legs.values()) == 1


def test_without_halving_every_training_is_whole() -> None:
    trials, spent = simulate(study("random", 6), 2)
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 6
    assert spent == 6 * 25


def trial(number: int, state: TrialState, values: dict[int, float], **attributes: object) -> FrozenTrial:
    return optuna.trial.create_trial(
        state=state, value=0.5 if state == TrialState.COMPLETE else None, intermediate_values=values,
        user_attrs={"origin": number, "until": 5, **attributes},
    )  # fmt: skip


def test_the_highest_rung_is_promoted_from_first_and_failures_are_not_tried_again() -> None:
    asked = study("promote")
    legs = [
        trial(0, TrialState.PRUNED, {5: 0.9}),
        trial(1, TrialState.PRUNED, {5: 0.8}),
        trial(2, TrialState.PRUNED, {5: 0.7}),
        trial(3, TrialState.PRUNED, {5: 0.6}),
    ]
    for number, each in enumerate(legs):
        each.number = number
    step = next_step(asked, "lens_flow", legs)
    assert isinstance(step, More)
    assert (step.origin.number, step.until) == (0, 10)
    failed = trial(0, TrialState.FAIL, {}, until=10, error="diverged")
    failed.number = 4
    step = next_step(asked, "lens_flow", [*legs, failed])
    assert isinstance(step, More)
    assert step.origin.number == 1
    interrupted = trial(0, TrialState.FAIL, {}, until=10)
    interrupted.number = 4
    step = next_step(asked, "lens_flow", [*legs, interrupted])
    assert isinstance(step, More)
    assert step.origin.number == 0


def test_what_was_interrupted_counts_once_and_what_is_queued_comes_first() -> None:
    asked = study("random", 2)
    interrupted = trial(0, TrialState.FAIL, {})
    again = trial(0, TrialState.WAITING, {})
    again.number = 1
    assert next_step(asked, "lens_flow", [interrupted, again]) == Queued()
    again.state = TrialState.RUNNING
    other = trial(2, TrialState.RUNNING, {})
    other.number = 2
    assert next_step(asked, "lens_flow", [interrupted, again]) == New()
    assert next_step(asked, "lens_flow", [interrupted, again, other]) is None
    assert next_step(study("promote", 2), "lens_flow", [interrupted, again, other]) == Wait()


@pytest.mark.parametrize(("maximise", "good", "bad"), [("auc", 0.9, 0.1), ("fpr", 0.1, 0.9)])
def test_at_a_rung_the_better_half_survives(maximise: str, good: float, bad: float) -> None:
    asked = study("tpe", maximise=maximise)
    others = [trial(n, TrialState.PRUNED, {5: 0.2 + 0.1 * n}) for n in range(6)]
    assert survives(asked, 5, good, others)
    assert not survives(asked, 5, bad, others)
    assert survives(asked, 10, bad, others)  # nobody else has come there


@pytest.mark.parametrize("killed", [0, 13, 20])
@pytest.mark.parametrize("search", ["random", "tpe", "promote", "hybrid"])
def test_a_search_that_was_interrupted_goes_on_as_if_it_had_not_been(search: str, killed: int) -> None:
    def told(trials: list[FrozenTrial]) -> list[tuple[float, int]]:
        return [
            (trial.params["learning_rate"], trial.user_attrs["until"])
            for trial in trials
            if trial.state != TrialState.FAIL
        ]

    asked = study(search, 24)
    interrupted, _ = simulate(asked, killed=killed)
    assert [trial.number for trial in interrupted if trial.state == TrialState.FAIL] == [killed]
    assert told(interrupted) == told(simulate(asked)[0])


def known(best: float, number: int = 20) -> list[FrozenTrial]:
    """Trainings, the better the nearer their rate was to that one."""
    distributions = {"learning_rate": optuna.distributions.FloatDistribution(1e-4, 1e-2)}
    found = []
    for origin, rate in enumerate(np.linspace(1e-4, 1e-2, number)):
        made = optuna.trial.create_trial(
            state=TrialState.PRUNED, params={"learning_rate": float(rate)}, distributions=distributions,
            user_attrs={"origin": origin, "until": 5}, intermediate_values={5: -abs(float(rate) - best)},
        )  # fmt: skip
        made.number = origin
        found.append(made)
    return found


@pytest.mark.parametrize(
    ("search", "fewest", "most"), [("random", 0, 0), ("promote", 0, 0), ("tpe", 40, 40), ("hybrid", 5, 25)]
)
def test_all_some_or_none_is_drawn_by_what_is_known(search: str, fewest: int, most: int) -> None:
    low, high = (
        [draw(study(search), "lens_flow", known(best), seed)["learning_rate"] for seed in range(40)]
        for best in (2e-3, 8e-3)
    )
    assert fewest <= sum(one != other for one, other in zip(low, high, strict=True)) <= most
    if search == "tpe":
        assert np.median(low) < 4e-3 < 6e-3 < np.median(high)


def test_a_sampler_learns_from_each_training_once() -> None:
    asked = study("hybrid")
    legs = [
        trial(0, TrialState.PRUNED, {5: 0.7}),
        trial(1, TrialState.PRUNED, {5: 0.8}),
        trial(1, TrialState.PRUNED, {10: 0.9}, until=10),
        trial(1, TrialState.COMPLETE, {25: 0.95}, until=25),
        trial(2, TrialState.FAIL, {}, error="diverged"),
        trial(3, TrialState.FAIL, {}),
        trial(3, TrialState.RUNNING, {}),
        trial(0, TrialState.RUNNING, {}, until=10),
        trial(4, TrialState.FAIL, {}),
    ]
    states = [(each.state, each.intermediate_values) for each in trainings(asked, legs)]
    assert states == [
        (TrialState.PRUNED, {5: 0.7}),
        (TrialState.COMPLETE, {5: 0.8, 10: 0.9, 25: 0.95}),
        (TrialState.PRUNED, {}),
        (TrialState.RUNNING, {}),
    ]
