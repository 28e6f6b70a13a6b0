"""What a study trains next: new trainings, or more epochs for those that came out best so far.

Epoch counts are rungs. A trial is one leg of a training: it begins with a new recipe or goes on with that of an earlier
trial, whose number is its `origin`, and ends at a rung.

Source: Li et al. 2020, MLSys (asynchronous successive halving).
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from orchestrator.learning.metrics import sign
from orchestrator.studies.storage import gave_up, origin_of, recipe_of
from orchestrator.studies.study import Study

LEGS = ("promote", "hybrid")
"""Searches whose trainings stop at each rung until they are called to go on."""

GUIDED = 1 / 3
"""Share of recipes that `hybrid` has TPE draw."""


@dataclass(frozen=True)
class Queued:
    """Train what is queued: by a grid, from another study, or since it was interrupted."""


@dataclass(frozen=True)
class New:
    """Draw a recipe, and train it."""


@dataclass(frozen=True)
class More:
    """Train the recipe of an earlier trial on until that epoch."""

    origin: FrozenTrial
    until: int


@dataclass(frozen=True)
class Wait:
    """Others are training, and what comes next depends on how they end."""


Step = Queued | New | More | Wait
"""What is next."""


def next_step(study: Study, architecture: str, trials: Sequence[FrozenTrial]) -> Step | None:
    """Decide it from all trials of a network so far; None where nothing is left.

    With ``promote`` and ``hybrid`` a training stops at the first rung; whenever a worker is free, the best that stands
    among the best of its rung (one in `study.halving`) goes on to the next, the highest rung first. Else a new one
    is drawn, until the study has as many as it wants.
    """
    if any(trial.state == TrialState.WAITING for trial in trials):
        return Queued()
    by_legs = study.search in LEGS
    if by_legs:
        found = _promotable(study, trials)
        if found:
            return found
    begun = {origin_of(trial) for trial in trials if trial.state != TrialState.FAIL or gave_up(trial)}
    if len(begun) < study.wanted(architecture):
        return New()
    return Wait() if by_legs and any(trial.state == TrialState.RUNNING for trial in trials) else None


def survives(study: Study, epoch: int, value: float, others: Sequence[FrozenTrial]) -> bool:
    """Whether a training at a rung is among the best of all that have come so far, one in `study.halving`."""
    reached = [known[epoch] for known in values(others).values() if epoch in known] + [value]
    ranked = sorted(reached, key=lambda each: sign(study.maximise) * each, reverse=True)
    return len(reached) < study.halving or value in ranked[: max(1, len(reached) // study.halving)]


def until(study: Study, trial: FrozenTrial | optuna.Trial) -> int:
    """The epoch that a trial trains to."""
    return int(trial.user_attrs.get("until", study.epochs[0] if study.search in LEGS else study.epochs[-1]))


def enqueue(study: Study, architecture: str, step: Step, searched: optuna.Study, seed: int | None = None) -> None:
    """Queue what is next, so that the study hands it out; see `draw` for the seed."""
    if isinstance(step, More):
        about = {"origin": origin_of(step.origin), "until": step.until}
        searched.enqueue_trial(recipe_of(step.origin), user_attrs=about)
    elif isinstance(step, New):
        searched.enqueue_trial(draw(study, architecture, searched.get_trials(deepcopy=False), seed))


def draw(study: Study, architecture: str, trials: Sequence[FrozenTrial], seed: int | None = None) -> dict[str, Any]:
    """A new recipe; after the same trainings it is the same, whether or not some of them were interrupted.

    With ``hybrid`` one recipe in three, by chance, is drawn by what is known: TPE alone stays where it was lucky at the
    first rung (Falkner et al. 2018, ICML, BOHB).

    Args:
        study: what is asked for.
        architecture: the network.
        trials: all of it so far.
        seed: by default the study's; the number of trainings is added to it.
    """
    seed = int(study.fixed.get("seed", 0)) if seed is None else seed
    seed += len({origin_of(trial) for trial in trials})
    guided = study.search == "tpe" or (study.search == "hybrid" and random.Random(seed).random() < GUIDED)  # noqa: S311 - no secret
    sampler = optuna.samplers.TPESampler(seed=seed) if guided else optuna.samplers.RandomSampler(seed=seed)
    known = optuna.create_study(sampler=sampler, direction=study.direction)
    known.add_trials(trainings(study, trials))
    trial = known.ask()
    study.suggest(trial, architecture)
    return trial.params


def values(trials: Iterable[FrozenTrial]) -> dict[int, dict[int, float]]:
    """What the trainings came to whose legs these trials are: its number → epoch → value."""
    found: dict[int, dict[int, float]] = {}
    for trial in trials:
        found.setdefault(origin_of(trial), {}).update(trial.intermediate_values)
    return found


def trainings(study: Study, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Each training as one trial with all its values, for a sampler to learn from.

    What failed for good has the values that it came to; without any it counts as the worst. What has just begun is
    there without a value, so that others are not drawn next to it.
    """
    drawn = {origin_of(trial): trial for trial in trials if trial.state == TrialState.RUNNING}
    drawn |= {origin_of(trial): trial for trial in trials if trial.intermediate_values or gave_up(trial)}
    failed = {origin_of(trial) for trial in trials if gave_up(trial)}
    reached = values(trials)

    def state(origin: int) -> TrialState:
        if study.epochs[-1] in reached[origin]:
            return TrialState.COMPLETE
        return TrialState.PRUNED if reached[origin] or origin in failed else TrialState.RUNNING

    return [
        create_trial(
            state=state(origin),
            value=reached[origin].get(study.epochs[-1]),
            params=drawn[origin].params,
            distributions=drawn[origin].distributions,
            intermediate_values=reached[origin],
        )
        for origin in sorted(drawn)
    ]


def _promotable(study: Study, trials: Sequence[FrozenTrial]) -> More | None:
    by_number, reached = {trial.number: trial for trial in trials}, values(trials)
    for rung, following in reversed(list(zip(study.epochs, study.epochs[1:], strict=False))):
        at = {origin: known[rung] for origin, known in reached.items() if rung in known}
        gone_on = {
            origin_of(trial)
            for trial in trials
            if trial.user_attrs.get("until", 0) >= following and (trial.state != TrialState.FAIL or gave_up(trial))
        }
        ranked = sorted(at, key=lambda origin: sign(study.maximise) * at[origin], reverse=True)
        for origin in ranked[: len(ranked) // study.halving]:
            if origin not in gone_on:
                return More(by_number[origin], following)
    return None
