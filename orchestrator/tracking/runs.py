"""Records trainings in MLflow: a run per study, below it one per trial, below that one per epoch count.

Their tag `kind` is study, trial or row; an evaluation of a registered model is a run of its own.
"""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import subprocess
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from orchestrator.data.cutouts import Cutouts
from orchestrator.errors import TrackingError
from orchestrator.learning.devices import describe
from orchestrator.learning.inference import evaluating
from orchestrator.learning.metrics import Roc
from orchestrator.learning.recipe import Recipe
from orchestrator.reports.figures import roc_page, roc_points
from orchestrator.reports.tables import Row
from orchestrator.tracking.store import MlflowClient, MlflowException, mlflow

VERSIONS = ("torch", "kornia", "mlflow", "optuna", "numpy", "astropy")


def begin(experiment: str, kind: str, name: str, *, parent: str | None = None, study: str = "") -> str:
    """Start a run and return its identifier.

    Under `mlflow run` the first one is the run that MLflow has made.
    """
    client = MlflowClient()
    tags = {"kind": kind, "study": study, "mlflow.runName": name, "git_commit": commit()}
    given = os.environ.pop("MLFLOW_RUN_ID", None) if parent is None else None
    if given is not None:
        for key, value in tags.items():
            client.set_tag(given, key, value)
        return given
    if parent is not None:
        tags["mlflow.parentRunId"] = parent
    return str(client.create_run(experiment, tags=tags, run_name=name).info.run_id)


@contextmanager
def running(run_id: str) -> Iterator[None]:
    """Say in the end how it ended: finished, failed, or killed by Ctrl-C."""
    client = MlflowClient()
    client.update_run(run_id, status="RUNNING")
    status = "FAILED"
    try:
        yield
        status = "FINISHED"
    except (KeyboardInterrupt, SystemExit):
        status = "KILLED"
        raise
    finally:
        client.set_terminated(run_id, status)


def exists(run_id: str) -> bool:
    """Whether the store knows the run; a checkpoint may remember one of another store."""
    try:
        return MlflowClient().get_run(run_id).info.lifecycle_stage == "active"
    except MlflowException:
        return False


def find_study(experiment: str, study: str) -> str | None:
    """The run of a study that was begun before."""
    found = _search(experiment, f"tags.kind = 'study' and tags.study = '{study}'")
    return str(found[0].info.run_id) if found else None


def log_training(run_id: str, recipe: Recipe, cutouts: Cutouts, device: torch.device) -> None:
    """Record what decides a training, and what it runs on."""
    client = MlflowClient()
    params = {f"recipe.{key}": value for key, value in recipe.settings().items()}
    params |= {"recipe.digest": recipe.digest, "dataset": str(cutouts.root), "dataset.digest": cutouts.digest}
    client.log_batch(run_id, params=[mlflow.entities.Param(key, value) for key, value in params.items()])
    versions = {f"version.{name}": importlib.metadata.version(name) for name in VERSIONS}
    for key, value in {**describe(device), **versions, "set": cutouts.set.name}.items():
        client.set_tag(run_id, key, value)
    _log_dataset(run_id, cutouts)
    client.log_dict(run_id, recipe.model_dump(mode="json"), "recipe.json")
    if cutouts.bad:
        client.log_dict(run_id, {str(bad.id): bad.reason for bad in cutouts.bad}, "unreadable_cutouts.json")
    client.log_metric(run_id, "unreadable_cutouts", len(cutouts.bad))


def last_epoch(run_id: str) -> int:
    """Number of the last epoch recorded: MLflow would keep both values of a repeated one."""
    return max((point.step for point in MlflowClient().get_metric_history(run_id, "loss")), default=0)


def log_metrics(run_id: str, metrics: Mapping[str, float], step: int = 0) -> None:
    """Record all in one call; what is NaN could not be said and is left out."""
    now = int(time.time() * 1000)
    known = [mlflow.entities.Metric(key, value, now, step) for key, value in metrics.items() if math.isfinite(value)]
    MlflowClient().log_batch(run_id, metrics=known)


def find_row(experiment: str, trial: str, epochs: int) -> str | None:
    """The finished row of a trial at an epoch count."""
    query = f"tags.kind = 'row' and tags.`mlflow.parentRunId` = '{trial}' and params.epochs = '{epochs}'"
    finished = [run for run in _search(experiment, query) if run.info.status == "FINISHED"]
    return str(finished[0].info.run_id) if finished else None


def log_row(
    experiment: str,
    trial: str,
    study: str,
    recipe: Recipe,
    epochs: int,
    metrics: Mapping[str, float],
    curve: Roc,
    timing: Mapping[str, str],
    cutouts: Cutouts,
    network: nn.Module,
) -> str:
    """Record one line of the table of results with its ROC curve and its model."""
    name = f"{recipe.architecture} {epochs}"
    run_id = begin(experiment, "row", name, parent=trial, study=study)
    client = MlflowClient()
    with running(run_id):
        own = {key: value for key, value in recipe.settings().items() if key not in ("architecture", "epochs")}
        params = {"model": recipe.architecture, "epochs": str(epochs), **own, **timing}
        params |= {"recipe.digest": recipe.digest, "dataset": str(cutouts.root), "dataset.digest": cutouts.digest}
        client.log_batch(run_id, params=[mlflow.entities.Param(key, value) for key, value in params.items()])
        client.set_tag(run_id, "set", cutouts.set.name)
        log_metrics(run_id, metrics, epochs)
        log_roc(run_id, curve, name)
        _log_dataset(run_id, cutouts)
        log_model(experiment, run_id, network, recipe, cutouts)
    return run_id


def log_roc(run_id: str, curve: Roc, title: str) -> None:
    """Attach the curve as a page and as points."""
    MlflowClient().log_text(run_id, roc_page(curve, title), "roc.html")
    MlflowClient().log_text(run_id, json.dumps(roc_points(curve)), "roc.json")


def log_model(experiment: str, run_id: str, network: nn.Module, recipe: Recipe, cutouts: Cutouts) -> None:
    """Attach the network as pt2, which loads without running code, for any number of cutouts at once."""
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    shape = cutouts.pixels.shape[1:]
    signature = ModelSignature(
        Schema([TensorSpec(np.dtype(np.float32), (-1, *shape), "images")]),
        Schema([TensorSpec(np.dtype(np.float32), (-1,), "logits")]),
    )
    device = next(network.parameters()).device
    if "MLFLOW_EXPERIMENT_ID" not in os.environ:  # else models would belong to the default experiment
        mlflow.set_experiment(experiment_id=experiment)
    with warnings.catch_warnings(), evaluating(network):
        warnings.simplefilter("ignore")
        with mlflow.start_run(run_id=run_id):
            mlflow.pytorch.log_model(
                network.cpu(),
                name="model",
                signature=signature,
                input_example=np.zeros((2, *shape), np.float32),
                pip_requirements=[f"torch=={importlib.metadata.version('torch').partition('+')[0]}"],
                metadata={
                    "set": cutouts.set.name,
                    "bands": [band.name for band in cutouts.set.bands],
                    "normalisation": recipe.normalisation,
                    "architecture": recipe.architecture,
                    "size": shape[-1],
                },
            )
    network.to(device)


def rows(study: str) -> list[Row]:
    """The table of a study, by network, epoch count and seed.

    Raises:
        TrackingError: nothing of that name was recorded.
    """
    found = MlflowClient().get_experiment_by_name(study)
    runs = _search(found.experiment_id, "tags.kind = 'row'") if found is not None else []
    table = [
        Row(
            run.info.run_id,
            run.data.params["model"],
            int(run.data.params["epochs"]),
            int(run.data.params["seed"]),
            dict(run.data.metrics),
        )
        for run in runs
        if run.info.status == "FINISHED"
    ]
    if not table:
        raise TrackingError(f"nothing is recorded of a study '{study}' in {mlflow.get_tracking_uri()}")
    return sorted(table, key=lambda row: (row.model, row.epochs, row.seed, row.run_id))


def commit() -> str:
    """The commit of the source, with a mark where the working tree differs from it."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40"]
    here = Path(__file__).parent
    done = subprocess.run(command, cwd=here, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def _search(experiment: str, query: str) -> list[Any]:
    found: list[Any] = []
    token = None
    while True:
        page = MlflowClient().search_runs([experiment], query, max_results=1000, page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def _log_dataset(run_id: str, cutouts: Cutouts) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    source = json.dumps({"uri": cutouts.root.as_uri()})
    profile = json.dumps({"cutouts": len(cutouts), "lenses": int((cutouts.labels == 1).sum())})
    dataset = Dataset(cutouts.root.name, cutouts.digest, "local", source, profile=profile)
    MlflowClient().log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])
