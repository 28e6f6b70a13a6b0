"""Records trainings in MLflow: a run per study, below it one per trial, below that one per epoch count.

Their tag `kind` is study, trial or row; an evaluation of a registered model is a run of its own. A row carries all
that one line of the table of results needs, so that the runs can be filtered and sorted by it.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import math
import os
import platform
import subprocess
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from orchestrator import __version__
from orchestrator.data.cutouts import Cutouts, names_digest, objects_digest
from orchestrator.errors import without_password
from orchestrator.json_text import as_json
from orchestrator.learning.devices import describe
from orchestrator.learning.recipe import Recipe
from orchestrator.reports.results import NAMES, RAW
from orchestrator.tracking import artifacts
from orchestrator.tracking.store import MlflowClient, MlflowException, briefly, mlflow

VERSIONS = ("torch", "kornia", "mlflow", "optuna", "numpy", "astropy")


def attached() -> bool:
    """Whether `mlflow run` has made a run for this process that nothing is recorded in yet."""
    return "MLFLOW_RUN_ID" in os.environ


def begin(
    experiment: str, kind: str, name: str, *, parent: str | None = None, study: str = "", since: int | None = None
) -> str:
    """Start a run and return its identifier; under `mlflow run` the first one is the run that MLflow has made.

    Args:
        experiment: to record in.
        kind: study, trial, row or whatever else it is.
        name: for people.
        parent: run to record it below.
        study: its name.
        since: when it was begun, in milliseconds since 1970; by default now.
    """
    client = MlflowClient()
    tags = {"kind": kind, "study": study, "mlflow.runName": name, "git_commit": commit(), **process()}
    if attached():
        given = os.environ.pop("MLFLOW_RUN_ID")
        _log(given, tags=tags)
        return given
    if parent is not None:
        tags["mlflow.parentRunId"] = parent
    return str(client.create_run(experiment, since, tags, run_name=name).info.run_id)


def process() -> dict[str, str]:
    """What this process is known by when it is asked later whether it still works."""
    worker = os.environ.get("ORCHESTRATOR_WORKER", "none")  # its name, where a cluster has started it
    return {"host": platform.node(), "pid": str(os.getpid()), "worker": worker}


@contextmanager
def running(run_id: str) -> Iterator[None]:
    """Say in the end how it ended: finished, failed, or killed by Ctrl-C or before its end."""
    client = MlflowClient()
    client.update_run(run_id, status="RUNNING")
    log_tags(run_id, process())
    try:
        yield
    except BaseException as error:
        with briefly(), contextlib.suppress(Exception):  # the store itself may be what failed
            client.set_terminated(run_id, "FAILED" if isinstance(error, Exception) else "KILLED")
            if isinstance(error, Exception):
                artifacts.log_text(run_id, without_password(traceback.format_exc()), "traceback.txt")
        raise
    client.set_terminated(run_id, "FINISHED")


def leave(run_id: str) -> None:
    """Say of a run that it is there, and that nobody is at work on it."""
    MlflowClient().update_run(run_id, status="SCHEDULED")


def end(run_id: str, status: str) -> None:
    """Say of a run whose process is gone how it ended."""
    MlflowClient().set_terminated(run_id, status)


def delete(run_id: str) -> None:
    """Put a run where MLflow keeps deleted ones."""
    MlflowClient().delete_run(run_id)


def log_training(
    run_id: str,
    recipe: Recipe,
    cutouts: Cutouts,
    tested: Cutouts,
    device: torch.device,
    gpus: int,
    extends: str | None,
) -> None:
    """Record what decides a training, and what it runs on; `mlflow run` has taken the names without a prefix.

    It is found by its parameters, which come last: what was interrupted before them is begun anew.
    """
    versions = {f"version.{name}": importlib.metadata.version(name) for name in VERSIONS}
    settings = {f"recipe.{key}": value for key, value in recipe.settings().items()}
    params = {**settings, "recipe.digest": recipe.digest, **_dataset(cutouts)}
    params["test_dataset.digest"] = tested.digest
    if tested is not cutouts:
        params["test_dataset"] = str(tested.root)
    origin = {"extends": extends} if extends else {}
    place = {**describe(device), **({"gpus": str(gpus)} if gpus > 1 else {})}
    _log(run_id, tags={"set": cutouts.set.name, **origin, **place, **versions})
    log_dataset(run_id, cutouts, "training")
    log_recipe(run_id, recipe)
    _log(run_id, params=params)


def log_recipe(run_id: str, recipe: Recipe) -> None:
    """Attach a recipe whole, so that it can be read back."""
    artifacts.log_text(run_id, as_json(recipe.model_dump(mode="json"), indent=2), "recipe.json")


def begin_row(
    experiment: str,
    trial: str,
    study: str,
    recipe: Recipe,
    epochs: int,
    cutouts: Cutouts,
    test_set: Cutouts,
    tested: Mapping[str, str],
    weights: str = RAW,
) -> str:
    """Start the run of one line of the table of results.

    Args:
        experiment: to record in.
        trial: run of the training.
        study: its name.
        recipe: of the training.
        epochs: how many are done.
        cutouts: trained on.
        test_set: where the objects tested on are.
        tested: `tested_on` of the objects tested on.
        weights: whose the row is.
    """
    name = f"{recipe.architecture} {epochs}" + ("" if weights == RAW else f" {weights}")
    run_id = begin(experiment, "row", name, parent=trial, study=study)
    own = {key: value for key, value in recipe.settings().items() if key not in ("architecture", "epochs")}
    digests = {"recipe.digest": recipe.digest, "recipe.family": recipe.family}
    params = {"model": recipe.architecture, "epochs": str(epochs), "weights": weights, **tested, **own}
    if test_set is not cutouts:
        params["test_dataset"] = str(test_set.root)
    _log(run_id, params={**params, **digests, **_dataset(cutouts)}, tags={"set": cutouts.set.name})
    return run_id


def begin_foreign_row(experiment: str, study: str, model: str, imaging: str, names: str, half: float) -> str:
    """Start the run of a line for somebody else's scores, of whose objects the `names_digest` is all there is."""
    run_id = begin(experiment, "row", model, study=study)
    _log(run_id, params={"model": model, "tested": names, "half": str(half)}, tags={"set": imaging})
    return run_id


def tested_on(cutouts: Cutouts, rows: NDArray[np.int64]) -> dict[str, str]:
    """What a result says of the objects it is of: their digest, and that of their identifiers and labels alone."""
    names = names_digest(cutouts.ids[rows].tolist(), cutouts.labels[rows])
    return {"tested": objects_digest(names, cutouts.objects(rows)), NAMES: names}


def log_metrics(run_id: str, metrics: Mapping[str, float], step: int = 0) -> None:
    """Record all in one call; what is NaN could not be said and is left out."""
    now = int(time.time() * 1000)
    known = [mlflow.entities.Metric(key, value, now, step) for key, value in metrics.items() if math.isfinite(value)]
    MlflowClient().log_batch(run_id, metrics=known)


def log_intervals(run_id: str, intervals: Mapping[str, tuple[float, float]], step: int = 0) -> None:
    """Record confidence intervals beside their metrics, as `auc_low` and `auc_high`."""
    limits = {
        f"{name}_{end}": at for name, pair in intervals.items() for end, at in zip(("low", "high"), pair, strict=True)
    }
    log_metrics(run_id, limits, step)


def log_params(run_id: str, params: Mapping[str, str]) -> None:
    """Record all in one call."""
    _log(run_id, params=params)


def log_tags(run_id: str, tags: Mapping[str, str]) -> None:
    """Set all in one call; what was there is replaced."""
    _log(run_id, tags=tags)


def log_dataset(run_id: str, cutouts: Cutouts, context: str) -> None:
    """Attach the set by name and digest, and the names of the cutouts that could not be read."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    source = as_json({"uri": cutouts.root.as_uri()})
    profile = as_json({"cutouts": len(cutouts), "lenses": int((cutouts.labels == 1).sum())})
    dataset = Dataset(cutouts.root.name, cutouts.digest, "local", source, profile=profile)
    inputs = [DatasetInput(dataset, [InputTag("mlflow.data.context", context)])]
    try:
        MlflowClient().log_inputs(run_id, inputs)
    except MlflowException:  # another process recorded the same set at the same time, and it is there now
        MlflowClient().log_inputs(run_id, inputs)
    log_metrics(run_id, {"unreadable_cutouts": len(cutouts.bad)})
    if cutouts.bad:
        artifacts.log_text(run_id, as_json({str(bad.id): bad.reason for bad in cutouts.bad}), "unreadable_cutouts.json")


@functools.cache
def commit() -> str:
    """The commit of the source, marked where the working tree differs from it; without one the version."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    except OSError:  # no git on this machine
        return f"version {__version__}"
    return done.stdout.strip() or f"version {__version__}"


def _dataset(cutouts: Cutouts) -> dict[str, str]:
    return {"dataset": str(cutouts.root), "dataset.digest": cutouts.digest}


def _log(run_id: str, *, params: Mapping[str, str] | None = None, tags: Mapping[str, str] | None = None) -> None:
    MlflowClient().log_batch(
        run_id,
        params=[mlflow.entities.Param(key, value) for key, value in (params or {}).items()],
        tags=[mlflow.entities.RunTag(key, value) for key, value in (tags or {}).items()],
    )
