"""Runs a study: for each network an Optuna study of its own; what is done stays done."""

from __future__ import annotations

import os
import platform
import sqlite3
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any

import optuna
from filelock import FileLock
from optuna.trial import TrialState
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.errors import RecipeError, StudyError
from orchestrator.learning.training import Epoch
from orchestrator.studies.bench import Bench
from orchestrator.studies.study import Study
from orchestrator.studies.trial import run
from orchestrator.tracking import records, runs
from orchestrator.tracking.store import database

DEFAULT = "sqlite:///optuna.db"
HEARTBEAT, GRACE = 60, 300

Watch = Callable[[str, int, Epoch, int], None]
"""Told of each epoch: the network, the trial's number, the epoch, and the epochs of the trial that are done."""

NOT_OF_TRAININGS = {"name", "description", "architectures", "trials", "extension", "scales"}
"""What may change in a study that was begun."""

optuna.logging.set_verbosity(optuna.logging.ERROR)  # failures are told by us, without tracebacks


@dataclass(frozen=True)
class State:
    """How far a study is for one network: trials by their state, and the best value so far."""

    study: str
    architecture: str
    complete: int
    waiting: int
    running: int
    failed: int
    best: float | None


def connect(url: str = DEFAULT) -> optuna.storages.RDBStorage:
    """Open Optuna's storage, made on first use under a lock.

    Raises:
        StudyError: it cannot be opened.
    """
    path = database(url)
    try:
        with _quiet(), ExitStack() as locked:
            if path:
                locked.enter_context(FileLock(f"{path}.lock"))
            storage = optuna.storages.RDBStorage(
                url,
                heartbeat_interval=HEARTBEAT,
                grace_period=GRACE,
                heartbeat_stale_trial_callback=optuna.storages.RetryHeartbeatStaleTrialCallback(),
            )
            if path:
                with sqlite3.connect(path) as connection:
                    connection.execute("PRAGMA journal_mode=WAL")
            return storage
    except (SQLAlchemyError, OSError, RuntimeError, ImportError, sqlite3.Error, ValueError) as error:
        raise StudyError(f"{url}: cannot open this Optuna storage: {str(error).splitlines()[0]}") from None


def sweep(study: Study, storage: optuna.storages.RDBStorage, bench: Bench, parent: str, watch: Watch) -> list[str]:
    """Do what is left of a study, and return what failed, a line each.

    Raises:
        StudyError: the stored study was begun with other settings.
    """
    for architecture in study.architectures:
        _open(study, architecture, storage, bench)  # all are checked before any trains
    failures: list[str] = []
    for architecture in study.architectures:
        searched = _open(study, architecture, storage, bench)
        _requeue(searched)
        while _left(study, architecture, searched) > 0:
            # A sampler that began with the same seed after a restart would draw the same again.
            searched.sampler = _sampler(study, len(searched.get_trials(deepcopy=False)))
            with _quiet():
                searched.optimize(
                    lambda trial, name=architecture: _objective(trial, study, name, bench, parent, watch),  # type: ignore[misc]
                    n_trials=1,
                    catch=(RecipeError,),
                )
        failures += [
            f"{architecture} trial {trial.number}: {trial.user_attrs['error']}"
            for trial in searched.get_trials(deepcopy=False, states=[TrialState.FAIL])
            if "error" in trial.user_attrs
        ]
    return failures


def states(storage: optuna.storages.RDBStorage) -> Iterator[State]:
    """How far each study in the storage is."""
    for summary in optuna.get_all_study_summaries(storage):
        name, _, architecture = summary.study_name.rpartition("/")
        trials = optuna.load_study(study_name=summary.study_name, storage=storage).get_trials(deepcopy=False)
        count = Counter(trial.state for trial in trials)
        yield State(
            study=name,
            architecture=architecture,
            complete=count[TrialState.COMPLETE],
            waiting=count[TrialState.WAITING],
            running=count[TrialState.RUNNING],
            failed=count[TrialState.FAIL],
            best=summary.best_trial.value if summary.best_trial is not None else None,
        )


def _open(study: Study, architecture: str, storage: optuna.storages.RDBStorage, bench: Bench) -> optuna.Study:
    searched = optuna.create_study(
        study_name=f"{study.name}/{architecture}", storage=storage, direction=study.direction, load_if_exists=True
    )
    definition = study.model_dump(mode="json", exclude=NOT_OF_TRAININGS)
    definition["data_digest"] = next(iter(bench.cutouts.values())).digest
    stored = searched.user_attrs.get("definition")
    if stored is None:
        if study.sampler == "grid":
            for combination in study.grid(architecture):
                searched.enqueue_trial(combination, skip_if_exists=True)
        searched.set_user_attr("definition", definition)  # last, so that a kill before it costs nothing
        return searched
    for key, value in definition.items():
        if stored.get(key) != value:
            raise StudyError(
                f"study '{study.name}' was begun with {key} = {stored.get(key)!r}, and it is {value!r} now;"
                " put it back, or copy the study's file to a new name"
            )
    return searched


def _requeue(searched: optuna.Study) -> None:
    """Queue again what was interrupted: by Ctrl-C, or by the end of a process of this machine."""
    with _quiet():
        optuna.storages.fail_stale_trials(searched)
    trials = searched.get_trials(deepcopy=False)
    again = {trial.user_attrs.get("again") for trial in trials} | {
        trial.user_attrs.get("failed_trial") for trial in trials
    }
    for trial in trials:
        if trial.state == TrialState.RUNNING and _is_dead(trial.user_attrs):
            searched.tell(trial.number, state=TrialState.FAIL)
        elif trial.state != TrialState.FAIL or "error" in trial.user_attrs:
            continue
        if trial.number not in again:
            searched.enqueue_trial(trial.params, user_attrs={"again": trial.number})


def _is_dead(process: dict[str, Any]) -> bool:
    if process.get("host") != platform.node():
        return False
    try:
        os.kill(int(process["pid"]), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return int(process["pid"]) == os.getpid()


def _left(study: Study, architecture: str, searched: optuna.Study) -> int:
    done = [
        trial
        for trial in searched.get_trials(deepcopy=False)
        if trial.state in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING) or "error" in trial.user_attrs
    ]
    return study.wanted(architecture) - len(done)


def _sampler(study: Study, number: int) -> optuna.samplers.BaseSampler:
    seed = int(study.fixed.get("seed", 0)) + number
    if study.sampler == "tpe":
        with _quiet():
            return optuna.samplers.TPESampler(seed=seed)
    return optuna.samplers.RandomSampler(seed=seed)


def _objective(trial: optuna.Trial, study: Study, name: str, bench: Bench, parent: str, watch: Watch) -> float:
    for key, value in {"host": platform.node(), "pid": os.getpid()}.items():
        trial.set_user_attr(key, value)
    value, done = float("nan"), 0
    try:
        for recipe, counts in study.suggest(trial, name).trainings(study.epochs):
            of_several = f" of {recipe.epochs} epochs" if counts != study.epochs else ""
            with closing(run(recipe, counts, bench, parent, f"{name} {trial.number}{of_several}")) as epochs:
                for epoch in epochs:
                    value = epoch.metrics[f"val_{study.maximise}"]
                    if not of_several or epoch.number == recipe.epochs:
                        trial.report(value, epoch.number)
                    watch(name, trial.number, epoch, done + epoch.number)
            done += recipe.epochs
    except RecipeError as error:
        trial.set_user_attr("error", str(error))
        raise
    return value


def _quiet() -> warnings.catch_warnings[None]:
    """Silence Optuna, which calls heartbeats experimental."""
    return warnings.catch_warnings(action="ignore", category=optuna.exceptions.ExperimentalWarning)


def begin(experiment: str, study: Study) -> str:
    """The MLflow run of a study: the one begun before, or a new one."""
    found = None if runs.attached() else records.find_study(study.name)
    run_id = found or runs.begin(experiment, "study", study.name, study=study.name)
    runs.log_text(run_id, study.model_dump_json(indent=1, exclude={"scales"}), "study.json")
    if study.scale:
        runs.log_tags(run_id, {"scale": study.scale})
    return run_id
