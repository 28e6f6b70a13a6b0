"""A worker: takes one trial after the other, and trains it, until a study has nothing left."""

from __future__ import annotations

import errno
import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from pathlib import Path

import optuna
import torch
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from orchestrator.errors import OrchestratorError, RecipeError, StudyError, without_password
from orchestrator.learning.recipe import Recipe
from orchestrator.learning.training import Epoch
from orchestrator.studies.bench import Bench
from orchestrator.studies.domination import drop, dropped
from orchestrator.studies.search import LEGS, More, Step, Wait, enqueue, next_step, survives, until
from orchestrator.studies.storage import Claim, Storage, failure_lines, origin_of, quiet, requeue
from orchestrator.studies.study import Study
from orchestrator.studies.trial import run
from orchestrator.tracking import failures as faults
from orchestrator.tracking import runs

Watch = Callable[[str, int, Epoch, int], None]
"""Told of each epoch: the network, the trial's number, the epoch, and the epochs of the trial that are done."""

PATIENCE = 2.0
"""Seconds between looks at what others are doing, when what comes next depends on them."""

ROOM = 4 * 2**20
"""Bytes on the disk below which a failure is taken for one of the disk."""

ALIKE = 3
"""Failures of one kind that stop a study."""


def work(study: Study, storage: Storage, searches: Mapping[str, optuna.Study], bench: Bench, parent: str,
         watch: Watch) -> None:  # fmt: skip
    """Train what a study has left; any number of processes may, on any number of machines.

    Args:
        study: what is asked for.
        storage: of Optuna.
        searches: network → its study there, opened.
        bench: what the trainings share.
        parent: run of the study.
        watch: told of each epoch.

    Raises:
        StudyError: several trainings failed in the same way.
        Exception: a store does not answer, or refuses, or the disk is full; see `orchestrator.tracking.failures`. That
            is of no training: the trial is queued again.
    """
    claim = Claim(storage)
    while True:
        with claim:
            found = _next(study, searches, parent)
            if found is None:
                return
            architecture, step = found
            if not isinstance(step, Wait):
                _train(study, architecture, step, searches[architecture], bench, parent, watch, claim)
        if isinstance(step, Wait):
            time.sleep(PATIENCE)


def failures(searches: Mapping[str, optuna.Study]) -> list[str]:
    """What failed for good, a line each."""
    return [f"{architecture} {line}" for architecture, searched in searches.items() for line in failure_lines(searched)]


def _next(study: Study, searches: Mapping[str, optuna.Study], parent: str) -> tuple[str, Step] | None:
    """The network that is next, and what is: more epochs before new trainings, then the one with the fewest trials."""
    _stop_if_alike(study.name, searches)
    if study.drop_dominated:
        drop(study, searches, parent)
        searches = {name: each for name, each in searches.items() if name not in dropped(searches)}
    steps = []
    for architecture, searched in searches.items():
        requeue(searched)
        trials = searched.get_trials(deepcopy=False)
        step = next_step(study, architecture, trials)
        if step is not None:
            in_file_order = 0 if study.search == "grid" else len(trials)
            steps.append((isinstance(step, Wait), not isinstance(step, More), in_file_order, architecture, step))
    if not steps:
        return None
    *_, architecture, step = min(steps, key=lambda each: each[:3])
    return architecture, step


def _train(
    study: Study,
    architecture: str,
    step: Step,
    searched: optuna.Study,
    bench: Bench,
    parent: str,
    watch: Watch,
    claim: Claim,
) -> None:
    enqueue(study, architecture, step, searched)
    taken: list[int] = []

    def objective(trial: optuna.Trial) -> float:
        taken.append(trial.number)
        queued = trial.study.get_trials(deepcopy=False)[trial.number]
        about = {**runs.process(), "origin": origin_of(queued), "until": until(study, queued)}
        for key, value in about.items():
            trial.set_user_attr(key, value)
        try:
            recipe = study.suggest(trial, architecture)
            if _is_being_trained(recipe, trial):
                raise optuna.TrialPruned
            claim.give_back()  # others may draw now: what this one drew is on record
            return _legs(study, architecture, recipe, trial, bench, parent, watch)
        except (optuna.TrialPruned, UpdateFinishedTrialError, OSError):
            raise
        except Exception as error:
            if faults.told(error):  # of no training: it is queued again
                raise
            if shutil.disk_usage(".").free < ROOM:  # whatever it is called where it came up
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(Path.cwd())) from error
            expected = isinstance(error, OrchestratorError)
            told = without_password(str(error) if expected else f"{type(error).__name__}: {error}")
            trial.set_user_attr("unexpected", not expected)
            trial.set_user_attr("error", told)
            raise RecipeError(told) from error

    try:
        with quiet():
            searched.optimize(objective, n_trials=1, catch=(RecipeError,))
    except AssertionError as error:  # Optuna's, where its storage failed as it was told how the trial ended
        failed = error.__context__ and faults.told(error.__context__)
        if failed:
            raise failed from error
        raise
    except (UpdateFinishedTrialError, ValueError):
        if not any(searched.get_trials(deepcopy=False)[number].state.is_finished() for number in taken):
            raise
        # else it was taken for dead, as after a night of this machine, and is another worker's now


def _is_being_trained(recipe: Recipe, trial: optuna.Trial) -> bool:
    """Whether another worker is at this very recipe, which was drawn twice; if not, says that this one is."""
    running = trial.study.get_trials(deepcopy=False, states=[TrialState.RUNNING])
    same = (each.number for each in running if each.user_attrs.get("recipe") == recipe.digest)
    twin = next((number for number in same if number != trial.number), None)
    trial.set_user_attr("recipe" if twin is None else "same_as", recipe.digest if twin is None else twin)
    return twin is not None


def _legs(
    study: Study, architecture: str, recipe: Recipe, trial: optuna.Trial, bench: Bench, parent: str, watch: Watch
) -> float:
    """Train to the trial's last epoch, or until it is among the best of a rung no more."""
    last, value, done = until(study, trial), float("nan"), 0

    def stop(epoch: Epoch) -> bool:
        if epoch.number >= last:
            return True
        if study.search != "tpe" or epoch.number not in study.epochs:
            return False
        others: list[FrozenTrial] = [
            each for each in trial.study.get_trials(deepcopy=False) if each.number != trial.number
        ]
        return not survives(study, epoch.number, epoch.metrics[f"val_{study.maximise}"], others)

    for each, counts in recipe.trainings(study.epochs):
        several = len(counts) < len(study.epochs)
        if several and (counts[0] > last or (study.search in LEGS and counts[0] != last)):
            continue  # each count is a training of its own, and this one is another leg's
        name = f"{architecture} {origin_of(trial)}" + (f" of {each.epochs} epochs" if several else "")
        with closing(_epochs(each, counts, bench, parent, name, trial, stop)) as epochs:
            for epoch in epochs:
                value = epoch.metrics[f"val_{study.maximise}"]
                if not several or epoch.number == each.epochs:
                    trial.report(value, epoch.number)
                watch(architecture, trial.number, epoch, done + epoch.number)
        done += each.epochs
        if several and each.epochs < last and stop(epoch):
            break
    if epoch.number < study.epochs[-1]:
        raise optuna.TrialPruned
    return value


def _epochs(
    recipe: Recipe,
    counts: list[int],
    bench: Bench,
    parent: str,
    name: str,
    trial: optuna.Trial,
    stop: Callable[[Epoch], bool],
) -> Generator[Epoch, None, None]:
    """The epochs of a training; with half the batch, and half again, where the device has not the memory."""
    while True:
        try:
            with closing(run(recipe, counts, bench, parent, name, stop=stop)) as epochs:
                yield from epochs
            return
        except torch.OutOfMemoryError:
            if recipe.batch_size < 4:
                raise
            recipe = recipe.model_copy(update={"batch_size": recipe.batch_size // 2})
            trial.set_user_attr("batch_size", recipe.batch_size)


def _stop_if_alike(study: str, searches: Mapping[str, optuna.Study]) -> None:
    """Give up where trainings fail for a reason that lies in none of their recipes."""
    unexpected = Counter(
        re.sub(r"[0-9]+", "#", trial.user_attrs["error"])
        for searched in searches.values()
        for trial in searched.get_trials(deepcopy=False, states=[TrialState.FAIL])
        if trial.user_attrs.get("unexpected")
    )
    for told, count in unexpected.items():
        if count >= ALIKE:
            raise StudyError(f"study '{study}': stopped, as {count} trainings failed alike: {told}")
