"""Records a finished training once more, as of another study; its files stay where they are, and are found there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.learning.recipe import Recipe
from orchestrator.tracking import records, runs
from orchestrator.tracking.artifacts import ORIGINAL
from orchestrator.tracking.store import MlflowClient

AT_ONCE = 1000
"""Metrics that MLflow takes in one call."""

NOT_COPIED = ("mlflow.", "kind", "study", "host", "pid", "worker", "extension", ORIGINAL)
"""Tags that a run has of its own begin with one of these."""


def copy_training(trial: str, recipe: Recipe, experiment: str, study: str, parent: str) -> None:
    """Copy the run of a training and of its rows; one that was copied already is left alone.

    Args:
        trial: its run.
        recipe: as the new study has it: its epochs may be others.
        experiment: to record in.
        study: the new one.
        parent: run of the new study.
    """
    client = MlflowClient()
    earlier = records.search(f"tags.kind = 'trial' and tags.study = '{study}' and tags.{ORIGINAL} = '{trial}'")
    if any(run.info.status == "FINISHED" for run in earlier):
        return
    for half in earlier:  # the process was killed in between
        for run in (*_below(half), half):
            client.delete_run(run.info.run_id)
    run = client.get_run(trial)
    own = {**{f"recipe.{key}": each for key, each in recipe.settings().items()}, "recipe.digest": recipe.digest}
    run_id = _copy(run, own, experiment, study, parent)
    runs.log_recipe(run_id, recipe)
    for row in _below(run):
        if row.data.tags["kind"] == "row" and row.info.status == "FINISHED":
            own = {"recipe.digest": recipe.digest, "recipe.family": recipe.family}
            client.set_terminated(_copy(row, own, experiment, study, run_id), "FINISHED", row.info.end_time)
    client.set_terminated(run_id, "FINISHED", run.info.end_time)


def _below(run: Any) -> list[Any]:
    return records.search(f"tags.`mlflow.parentRunId` = '{run.info.run_id}'")


def _copy(run: Any, own: Mapping[str, str], experiment: str, study: str, parent: str) -> str:
    client, name = MlflowClient(), run.info.run_name
    tags = {key: each for key, each in run.data.tags.items() if not key.startswith(NOT_COPIED)}
    run_id = runs.begin(experiment, run.data.tags["kind"], name, parent=parent, study=study, since=run.info.start_time)
    runs.log_tags(run_id, {**tags, ORIGINAL: run.info.run_id})
    runs.log_params(run_id, {**run.data.params, **own})
    points = [point for metric in run.data.metrics for point in client.get_metric_history(run.info.run_id, metric)]
    for first in range(0, len(points), AT_ONCE):
        client.log_batch(run_id, metrics=points[first : first + AT_ONCE])
    client.log_inputs(run_id, run.inputs.dataset_inputs)
    return run_id
