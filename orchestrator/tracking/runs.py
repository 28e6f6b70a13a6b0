"""Records trainings in MLflow: a run per study, below it one per trial, below that one per epoch count.

Their tag `kind` is study, trial or row; an evaluation of a registered model is a run of its own. A row carries all
that one line of the table of results needs, so that the runs can be filtered and sorted by it.
"""

from __future__ import annotations

import functools
import importlib.metadata
import json
import math
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from orchestrator.data.cutouts import Cutouts
from orchestrator.errors import TrackingError
from orchestrator.learning.devices import describe
from orchestrator.learning.metrics import Roc
from orchestrator.learning.recipe import Recipe
from orchestrator.reports.figures import roc_page, roc_points
from orchestrator.reports.tables import Row
from orchestrator.tracking.store import MlflowClient, MlflowException, mlflow

VERSIONS = ("torch", "kornia", "mlflow", "optuna", "numpy", "astropy")


def attached() -> bool:
    """Whether `mlflow run` has made a run for this process that nothing is recorded in yet."""
    return "MLFLOW_RUN_ID" in os.environ


def begin(experiment: str, kind: str, name: str, *, parent: str | None = None, study: str = "") -> str:
    """Start a run and return its identifier; under `mlflow run` the first one is the run that MLflow has made."""
    client = MlflowClient()
    tags = {"kind": kind, "study": study, "mlflow.runName": name, "git_commit": commit()}
    if attached():
        given = os.environ.pop("MLFLOW_RUN_ID")
        _log(given, tags=tags)
        return given
    if parent is not None:
        tags["mlflow.parentRunId"] = parent
    return str(client.create_run(experiment, tags=tags, run_name=name).info.run_id)


@contextmanager
def running(run_id: str) -> Iterator[None]:
    """Say in the end how it ended: finished, failed, or killed by Ctrl-C or before its end."""
    client = MlflowClient()
    client.update_run(run_id, status="RUNNING")
    status = "FAILED"
    try:
        yield
        status = "FINISHED"
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        status = "KILLED"
        raise
    finally:
        client.set_terminated(run_id, status)


def exists(run_id: str) -> bool:
    """Whether the store knows the run; a checkpoint may remember one of another store, or a deleted one."""
    try:
        return bool(MlflowClient().get_run(run_id).info.lifecycle_stage == "active")
    except MlflowException:
        return False


def find_study(study: str) -> str | None:
    """The run of a study that was begun before."""
    found = _search(f"tags.kind = 'study' and tags.study = '{study}'")
    return str(found[0].info.run_id) if found else None


def find_row(trial: str, epochs: int) -> str | None:
    """The finished row of a trial at an epoch count."""
    query = f"tags.kind = 'row' and tags.`mlflow.parentRunId` = '{trial}' and params.epochs = '{epochs}'"
    found = _search(f"{query} and attributes.status = 'FINISHED'")
    return str(found[0].info.run_id) if found else None


def log_training(run_id: str, recipe: Recipe, cutouts: Cutouts, device: torch.device) -> None:
    """Record what decides a training, and what it runs on; `mlflow run` has taken the names without a prefix."""
    versions = {f"version.{name}": importlib.metadata.version(name) for name in VERSIONS}
    settings = {f"recipe.{key}": value for key, value in recipe.settings().items()}
    params = {**settings, "recipe.digest": recipe.digest, **_dataset(cutouts)}
    _log(run_id, params=params, tags={"set": cutouts.set.name, **describe(device), **versions})
    log_dataset(run_id, cutouts, "training")
    MlflowClient().log_dict(run_id, recipe.model_dump(mode="json"), "recipe.json")


def begin_row(experiment: str, trial: str, study: str, recipe: Recipe, epochs: int, cutouts: Cutouts) -> str:
    """Start the run of one line of the table of results."""
    run_id = begin(experiment, "row", f"{recipe.architecture} {epochs}", parent=trial, study=study)
    own = {key: value for key, value in recipe.settings().items() if key not in ("architecture", "epochs")}
    params = {"model": recipe.architecture, "epochs": str(epochs), **own, "recipe.digest": recipe.digest}
    _log(run_id, params={**params, **_dataset(cutouts)}, tags={"set": cutouts.set.name})
    return run_id


def last_epoch(run_id: str) -> int:
    """Number of the last epoch recorded: MLflow would keep both values of a repeated one."""
    return max((point.step for point in MlflowClient().get_metric_history(run_id, "loss")), default=0)


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


def log_roc(run_id: str, curve: Roc, title: str) -> None:
    """Attach the curve as a page and as points."""
    log_text(run_id, roc_page(curve, title), "roc.html")
    log_text(run_id, json.dumps(roc_points(curve)), "roc.json")


def log_text(run_id: str, text: str, name: str) -> None:
    """Attach a file."""
    MlflowClient().log_text(run_id, text, name)


def log_dataset(run_id: str, cutouts: Cutouts, context: str) -> None:
    """Attach the set by name and digest, and the names of the cutouts that could not be read."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    source = json.dumps({"uri": cutouts.root.as_uri()})
    profile = json.dumps({"cutouts": len(cutouts), "lenses": int((cutouts.labels == 1).sum())})
    dataset = Dataset(cutouts.root.name, cutouts.digest, "local", source, profile=profile)
    MlflowClient().log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", context)])])
    log_metrics(run_id, {"unreadable_cutouts": len(cutouts.bad)})
    if cutouts.bad:
        MlflowClient().log_dict(run_id, {str(bad.id): bad.reason for bad in cutouts.bad}, "unreadable_cutouts.json")


def rows(study: str) -> list[Row]:
    """The table of a study, by network, epoch count and seed.

    Raises:
        TrackingError: nothing of that name was recorded; it lists the names there are.
    """
    runs = _search(f"tags.kind = 'row' and tags.study = '{study}' and attributes.status = 'FINISHED'")
    if not runs:
        known = sorted({run.data.tags["study"] for run in _search("tags.kind = 'row'")})
        raise TrackingError(
            f"no rows of a study '{study}' in {mlflow.get_tracking_uri()} (recorded: {', '.join(known) or 'none'})"
        )
    table = [
        Row(
            run_id=run.info.run_id,
            recipe=run.data.params["recipe.digest"],
            set=run.data.tags["set"],
            dataset=run.data.params["dataset.digest"],
            model=run.data.params["model"],
            epochs=int(run.data.params["epochs"]),
            seed=int(run.data.params["seed"]),
            metrics=dict(run.data.metrics),
        )
        for run in runs
    ]
    return sorted(table, key=lambda row: (row.model, row.epochs, row.seed, row.run_id))


@functools.cache
def commit() -> str:
    """The commit of the source, with a mark where the working tree differs from it."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    except OSError:  # no git on this machine
        return "unknown"
    return done.stdout.strip() or "unknown"


def _dataset(cutouts: Cutouts) -> dict[str, str]:
    return {"dataset": str(cutouts.root), "dataset.digest": cutouts.digest}


def _log(run_id: str, *, params: Mapping[str, str] | None = None, tags: Mapping[str, str] | None = None) -> None:
    MlflowClient().log_batch(
        run_id,
        params=[mlflow.entities.Param(key, value) for key, value in (params or {}).items()],
        tags=[mlflow.entities.RunTag(key, value) for key, value in (tags or {}).items()],
    )


def _search(query: str) -> list[Any]:
    """All runs of all experiments that fit."""
    client = MlflowClient()
    experiments = [each.experiment_id for each in _pages(client.search_experiments)]
    return _pages(functools.partial(client.search_runs, experiments, query)) if experiments else []


def _pages(search: Any) -> list[Any]:
    found, page = [], search(max_results=1000)
    found += page
    while page.token:
        page = search(max_results=1000, page_token=page.token)
        found += page
    return found
