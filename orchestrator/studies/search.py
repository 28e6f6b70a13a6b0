"""What a study trains next: new trainings, or more epochs for those that came out best so far.

Epoch counts are rungs. A trial is one leg of a training: it begins with a new recipe or goes on with that of an earlier
trial, whose number is its `origin`, and ends at a rung.

Source: Li et al. 2020, MLSys (asynchronous successive halving).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import optuna
from optuna.trial import FrozenTrial, TrialState

from orchestrator.learning.metrics import sign
from orchestrator.studies.storage import gave_up, quiet
from orchestrator.studies.study import Study

LEGS = ("promote", "hybrid")
"""Searches whose trainings stop at each rung until they are called to go on."""

GUIDED = 0.5
"""Share of recipes that `hybrid` has TPE draw."""


@dataclass(frozen=True)
class New:
    """Take what is queued, or draw a recipe, and train it."""


@dataclass(frozen=True)
class More:
    """Train the recipe of an earlier trial on until that epoch."""

    origin: FrozenTrial
    until: int


@dataclass(frozen=True)
class Wait:
    """Others are training, and what comes next depends on how they end."""


Step = New | More | Wait
"""What is next."""


def next_step(study: Study, architecture: str, trials: Sequence[FrozenTrial]) -> Step | None:
    """Decide it from all trials of a network so far; None where nothing is left.

    With ``promote`` and ``hybrid`` a training stops at the first rung; whenever a worker is free, the best that stands
    among the best of its rung (one in `study.halving`) goes on to the next, the highest rung first. Else a new one
    is drawn, until the study has as many as it wants.
    """
    if any(trial.state == TrialState.WAITING for trial in trials):
        return New()  # Optuna hands out what is queued before it draws anything new
    by_legs = study.search in LEGS
    if by_legs:
        found = _promotable(study, trials)
        if found:
            return found
    begun = {origin_of(trial) for trial in trials if trial.state != TrialState.FAIL or gave_up(trial)}
    if len(begun) < study.wanted(architecture):
        return New()
    return Wait() if by_legs and any(trial.state == TrialState.RUNNING for trial in trials) else None


def survives(study: Study, epoch: int, value: float, trials: Sequence[FrozenTrial]) -> bool:
    """Whether a training at a rung is among the best of all that have come so far, one in `study.halving`."""
    values = [*(trial.intermediate_values[epoch] for trial in trials if epoch in trial.intermediate_values), value]
    ranked = sorted(values, key=lambda each: sign(study.maximise) * each, reverse=True)
    return len(values) < study.halving or value in ranked[: max(1, len(values) // study.halving)]


def origin_of(trial: FrozenTrial | optuna.Trial) -> int:
    """Number of the trial that drew the recipe."""
    return int(trial.user_attrs.get("origin", trial.user_attrs.get("failed_trial", trial.number)))


def until(study: Study, trial: FrozenTrial | optuna.Trial) -> int:
    """The epoch that a trial trains to."""
    return int(trial.user_attrs.get("until", study.epochs[0] if study.search in LEGS else study.epochs[-1]))


def sampler(study: Study, number: int) -> optuna.samplers.BaseSampler:
    """Of a new recipe; begun with the same seed after a restart it would draw the same again.

    With ``hybrid`` every other recipe, by chance, is drawn without regard to what is known: TPE alone stays where it
    was lucky at the first rung (Falkner et al. 2018, ICML, BOHB).
    """
    seed = int(study.fixed.get("seed", 0)) + number
    if study.search == "tpe" or (study.search == "hybrid" and random.Random(seed).random() < GUIDED):
        with quiet():
            return optuna.samplers.TPESampler(seed=seed)
    return optuna.samplers.RandomSampler(seed=seed)


def _promotable(study: Study, trials: Sequence[FrozenTrial]) -> More | None:
    by_number = {trial.number: trial for trial in trials}
    for rung, following in reversed(list(zip(study.epochs, study.epochs[1:], strict=False))):
        values = {
            origin_of(trial): trial.intermediate_values[rung] for trial in trials if rung in trial.intermediate_values
        }
        gone_on = {
            origin_of(trial)
            for trial in trials
            if trial.user_attrs.get("until", 0) >= following and (trial.state != TrialState.FAIL or gave_up(trial))
        }
        ranked = sorted(values, key=lambda origin: sign(study.maximise) * values[origin], reverse=True)
        for origin in ranked[: len(ranked) // study.halving]:
            if origin not in gone_on:
                return More(by_number[origin], following)
    return None
