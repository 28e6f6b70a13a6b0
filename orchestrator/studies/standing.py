"""How far a study is while workers of this machine or of others are at it, from what its storage says alone."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from orchestrator.studies import domination
from orchestrator.studies.search import LEGS, until, values
from orchestrator.studies.study import Study


@dataclass(frozen=True)
class Leg:
    """What a worker is at.

    Attributes:
        worker: process and host.
        architecture: the network.
        trial: its number.
        epoch: the last one that is done; 0 where none is.
        until: the epoch it trains to at most.
        value: of the metric that is maximised, after that epoch.
        left: seconds until the leg is done, or None where no epoch of it is done yet.
    """

    worker: str
    architecture: str
    trial: int
    epoch: int
    until: int
    value: float | None
    left: float | None


@dataclass(frozen=True)
class Standing:
    """The legs under way, the epochs done and expected in all, and the seconds left; None where nothing tells yet."""

    legs: Sequence[Leg]
    done: int
    expected: int
    left: float | None


def look(study: Study, searches: Mapping[str, optuna.Study]) -> Standing:
    """How far it is now."""
    trials = {name: searched.get_trials(deepcopy=False) for name, searched in searches.items()}
    return standing(study, trials, datetime.now(), domination.dropped(searches))


def standing(
    study: Study, trials: Mapping[str, Sequence[FrozenTrial]], now: datetime, dropped: Collection[str] = ()
) -> Standing:
    """How far a study is at a time, from all trials of each network.

    What is left is reckoned from the rungs: of the trainings of a network one in `study.halving` is expected to go on
    at each, every epoch as long as those of that network so far, shared by as many workers as there are now; of a
    network that was dropped nothing.
    """
    legs = [
        _leg(study, architecture, trial, now)
        for architecture, each in trials.items()
        for trial in each
        if trial.state == TrialState.RUNNING and "pid" in trial.user_attrs
    ]
    paces = {architecture: _pace(each, now) for architecture, each in trials.items()}
    known = [pace for pace in paces.values() if pace is not None]
    done, expected, left = 0, 0, 0.0
    for architecture, each in trials.items():
        own = sum(max(reached, default=0) for reached in values(each).values())
        whole = own if architecture in dropped else _expected(study, architecture)
        pace = paces[architecture] or (sum(known) / len(known) if known else 0.0)
        done, expected, left = done + own, expected + max(own, whole), left + max(0, whole - own) * pace
    return Standing(legs, done, expected, left / max(1, len(legs)) if known else None)


def _leg(study: Study, architecture: str, trial: FrozenTrial, now: datetime) -> Leg:
    about: Mapping[str, Any] = trial.user_attrs
    epoch, pace, last = max(trial.intermediate_values, default=0), _pace([trial], now), until(study, trial)
    return Leg(
        f"{about['pid']} on {about.get('host')}",
        architecture,
        trial.number,
        epoch,
        last,
        trial.intermediate_values.get(epoch),
        None if pace is None else (last - epoch) * pace,
    )


def _pace(trials: Sequence[FrozenTrial], now: datetime) -> float | None:
    """Seconds an epoch, all that goes with it included."""
    epochs, spent = 0, 0.0
    for trial in trials:
        if trial.intermediate_values and trial.datetime_start:
            epochs += len(trial.intermediate_values)
            spent += ((trial.datetime_complete or now) - trial.datetime_start).total_seconds()
    return spent / epochs if epochs else None


def _expected(study: Study, architecture: str) -> int:
    trainings, epochs, before = study.wanted(architecture), 0, 0
    if study.search not in (*LEGS, "tpe"):
        return trainings * study.longest
    for count in study.epochs:
        epochs, before, trainings = epochs + trainings * (count - before), count, trainings // study.halving
    return epochs
