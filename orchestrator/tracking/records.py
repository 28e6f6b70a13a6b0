"""Reads back what `orchestrator.tracking.runs` recorded."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from orchestrator.data.cutouts import objects_digest
from orchestrator.errors import TrackingError
from orchestrator.learning.recipe import Recipe
from orchestrator.learning.training import Epoch
from orchestrator.reports.results import RAW, Curve, Results, Row, Trial, best, settings
from orchestrator.tracking import artifacts, failures
from orchestrator.tracking.store import MlflowClient, MlflowException, mlflow, pages, run_of

CURVES = ("loss", "accuracy", "val_loss", "val_accuracy", "val_auc", "val_tpr10", "seconds")
"""Metrics of every epoch that reports draw; beside the maximised one."""


class Unfinished(NamedTuple):
    """A run that has not come to its end; its tags say on which host and in which process it is."""

    run_id: str
    kind: str
    name: str
    tags: dict[str, str]


def stage(run_id: str) -> str | None:
    """Whether a run is `active` or `deleted`; None where the store does not know it, as one of another store.

    Raises:
        MlflowException: the store does not answer, or refuses to say.
    """
    try:
        return str(MlflowClient().get_run(run_id).info.lifecycle_stage)
    except MlflowException as error:
        if failures.absent(error):
            return None
        raise


def exists(run_id: str) -> bool:
    """Whether the store has the run; a checkpoint may remember one of another store, or a deleted one."""
    return stage(run_id) == "active"


def find_study(study: str) -> str | None:
    """The run of a study that was begun before."""
    found = search(f"tags.kind = 'study' and tags.study = '{_quoted(study)}'")
    return str(found[0].info.run_id) if found else None


def find_row(trial: str, epochs: int, weights: str = RAW) -> str | None:
    """The finished row of a trial at an epoch count."""
    query = f"tags.kind = 'row' and tags.`mlflow.parentRunId` = '{trial}' and params.epochs = '{epochs}'"
    found = search(f"{query} and params.weights = '{weights}' and attributes.status = 'FINISHED'")
    return str(found[0].info.run_id) if found else None


def find_training(study: str, recipe: Recipe, dataset: str, test: str | None) -> str | None:
    """The run of a training of a study by all that decides its rows, however far it is.

    Args:
        study: its name.
        recipe: of the training.
        dataset: digest of what it is trained on.
        test: digest of the set of its own that it is tested on, or None.
    """
    query = f"tags.kind = 'trial' and tags.study = '{_quoted(study)}'"
    digests = {"recipe.digest": recipe.digest, "dataset.digest": dataset, "test_dataset.digest": test or dataset}
    found = search(query + "".join(f" and params.`{key}` = '{value}'" for key, value in digests.items()))
    # The whole of a set that it is trained on too is another test than a part of it.
    alike = [run for run in found if ("test_dataset" in run.data.params) == (test is not None)]
    return _furthest(alike) if alike else None


def epoch(run_id: str, number: int) -> Epoch | None:
    """What was recorded of an epoch of a training; None of one that the run it goes on from has."""
    histories = {name: MlflowClient().get_metric_history(run_id, name) for name in metrics(run_id)}
    values = {name: point.value for name, points in histories.items() for point in points if point.step == number}
    if "loss" not in values:
        return None
    rest = {name: value for name, value in values.items() if name not in ("loss", "seconds")}
    return Epoch(number, values["loss"], rest, values["seconds"])


def last_epoch(run_id: str) -> int:
    """Number of the last epoch recorded: MLflow would keep both values of a repeated one."""
    return max((point.step for point in MlflowClient().get_metric_history(run_id, "loss")), default=0)


def rows(study: str) -> list[Row]:
    """The table of a study, by network, epoch count and seed.

    Raises:
        TrackingError: nothing of that name was recorded; it lists the names there are.
    """
    found = search(f"tags.kind = 'row' and tags.study = '{_quoted(study)}' and attributes.status = 'FINISHED'")
    if not found:
        known = sorted({run.data.tags.get("study", "") for run in search("tags.kind = 'row'")} - {""})
        raise TrackingError(
            f"no rows of a study '{study}' in {mlflow.get_tracking_uri()} (recorded: {', '.join(known) or 'none'})"
        )
    return sorted(
        _that_count(list(map(_row, found))),
        key=lambda row: (row.model, row.epochs or 0, row.weights, row.seed, sorted(settings(row).items()), row.run_id),
    )


def row(run_id: str) -> Row:
    """One line of a table, or the evaluation of a registered model in the form of one.

    Raises:
        TrackingError: no such run, or one that is neither.
    """
    run = run_of(run_id)
    if "tested" not in run.data.params:
        kind = run.data.tags.get("kind", "none of ours")
        raise TrackingError(
            f"{run_id}: neither a row of a table nor an evaluation, but {kind}"
            " (`orchestrator table --study NAME --format csv` names the runs of rows)"
        )
    return _row(run)


def tested(row: Row) -> str | None:
    """Digest of the objects that a row was tested on, with pixels; None where the pixels are not on record.

    Rows from before the pixels were included have a list of their objects beside them.
    """
    if row.tested != row.names:
        return row.tested
    found = artifacts.objects(row.run_id, "tested_on.npz")
    return objects_digest(row.names, found) if found else None


def trials(study: str, maximise: str = "val_auc") -> list[Trial]:
    """The finished trainings of a study with their curves, in the order they were begun."""
    found = _current(search(f"tags.kind = 'trial' and tags.study = '{_quoted(study)}'"))
    return [_trial(run, maximise) for run in found if run.info.status == "FINISHED"]


def line(run_id: str, maximise: str = "val_auc") -> list[Trial]:
    """A training, that which it went on from, and all that went on from there, by their epochs; unfinished ones too."""
    first = run_of(run_id)
    while "extends" in first.data.tags:
        first = run_of(first.data.tags["extends"])
    found = [first]
    for each in found:
        found += search(f"tags.kind = 'trial' and tags.extends = '{each.info.run_id}'")
    return sorted((_trial(run, maximise) for run in _current(found)), key=lambda each: each.epochs)


def trial(run_id: str) -> Trial:
    """One training, by its own run or by that of any of its rows.

    Raises:
        TrackingError: no such run, or one that is neither.
    """
    run = run_of(run_id)
    if run.data.tags.get("kind") == "row" and "mlflow.parentRunId" in run.data.tags:
        run = run_of(run.data.tags["mlflow.parentRunId"])
    if not any(key.startswith("recipe.") for key in run.data.params):
        kind = run.data.tags.get("kind", "none of ours")
        raise TrackingError(f"{run_id}: no training or row of one, but {kind}")
    return _trial(run, "val_auc")


def results(study: str) -> Results:
    """All of a study that a report shows.

    Raises:
        TrackingError: no finished row of it.
    """
    table, definition = rows(study), study_definition(study)
    metric = f"val_{definition.get('maximise', 'auc')}"
    shown = [*best(table, metric), *(row for row in table if row.epochs is None)]

    def read(name: str) -> dict[str, Any]:
        return {
            row.run_id: json.loads(artifacts.text(row.run_id, name)) for row in shown if artifacts.has(row.run_id, name)
        }

    curves, binned, worst = map(read, ("roc.json", "completeness.json", "mistakes.json"))
    return Results(
        study, definition, table, trials(study, metric), shown, curves, binned, worst, _of_study(study, "search.json")
    )


def unfinished() -> list[Unfinished]:
    """The runs of ours, of all studies, that say they are running, and the rows that were not recorded to their end."""
    found = search("attributes.status = 'RUNNING'")
    found += [
        run
        for status in ("KILLED", "FAILED")
        for run in search(f"tags.kind = 'row' and attributes.status = '{status}'")
    ]
    return [
        Unfinished(run.info.run_id, run.data.tags["kind"], run.info.run_name or "", run.data.tags)
        for run in found
        if {"kind", "study"} <= run.data.tags.keys()  # one of others may have either
    ]


def recipe_of(trial: str) -> Recipe:
    """What decided a training."""
    return Recipe.model_validate_json(artifacts.text(trial, "recipe.json"))


def experiment(run_id: str) -> str:
    """Identifier of the experiment that a run is in."""
    return str(run_of(run_id).info.experiment_id)


def study_of(run_id: str) -> str:
    """Name of the study that a run is of; empty of others."""
    return str(run_of(run_id).data.tags.get("study", ""))


def commit_of(run_id: str) -> str:
    """The commit of the code that made a run; empty where it is not on record."""
    return str(run_of(run_id).data.tags.get("git_commit", ""))


def metrics(run_id: str) -> dict[str, float]:
    """Of a run, the last value of each."""
    return dict(run_of(run_id).data.metrics)


def study_definition(study: str) -> dict[str, Any]:
    """What a study's run says of it: its description, its scale, what it maximises; empty without such a run."""
    return _of_study(study, "study.json")


def _of_study(study: str, name: str) -> dict[str, Any]:
    """A JSON file that is attached to a study's run; empty where there is none."""
    found = find_study(study)
    return dict(json.loads(artifacts.text(found, name) if found and artifacts.has(found, name) else "{}"))


def _row(run: Any) -> Row:
    params = run.data.params
    return Row(
        run_id=run.info.run_id,
        trial=run.data.tags.get("mlflow.parentRunId", run.info.run_id),
        recipe=params.get("recipe.digest", ""),
        family=params.get("recipe.family", ""),
        set=run.data.tags["set"],
        dataset=params.get("dataset.digest", ""),
        tested=params["tested"],
        model=params["model"],
        epochs=int(params["epochs"]) if "epochs" in params else None,
        weights=params.get("weights", RAW),
        settings=dict(params),
        metrics=dict(run.data.metrics),
    )


def _trial(run: Any, maximise: str) -> Trial:
    run_id, prefix = run.info.run_id, "recipe."
    settings = {key.removeprefix(prefix): each for key, each in run.data.params.items() if key.startswith(prefix)}
    kept = {key: each for key, each in run.data.params.items() if not key.startswith(prefix)}
    names = dict.fromkeys((*CURVES, maximise))
    curves = {name: curve for name in names if (curve := _curve(run_id, name))}
    finished = run.info.status == "FINISHED"
    return Trial(run_id, run.data.tags.get("extends"), settings, {**run.data.tags, **kept}, curves, finished)


def _curve(run_id: str, metric: str) -> Curve:
    return sorted((point.step, point.value) for point in MlflowClient().get_metric_history(run_id, metric))


def _that_count(table: list[Row]) -> list[Row]:
    """Rows without those of a training that was begun once more."""
    runs: dict[tuple[str, str], set[str]] = {}
    for row in table:
        if row.trial != row.run_id:  # else it is of no training
            runs.setdefault((row.recipe, row.dataset), set()).add(row.trial)
    several = [MlflowClient().get_run(run_id) for each in runs.values() if len(each) > 1 for run_id in each]
    superseded = {run.info.run_id for run in several} - {run.info.run_id for run in _current(several)}
    return [row for row in table if row.trial not in superseded]


def _current(found: list[Any]) -> list[Any]:
    """Trainings without those that were begun once more, in the order they were begun."""
    alike: dict[tuple[Any, ...], list[Any]] = {}
    decides = ("recipe.digest", "dataset.digest", "test_dataset.digest")
    for run in found:
        params = run.data.params
        alike.setdefault((*map(params.get, decides), "test_dataset" in params), []).append(run)
    current = {_furthest(each) for each in alike.values()}
    return sorted((run for run in found if run.info.run_id in current), key=lambda run: run.info.start_time)


def _furthest(found: list[Any]) -> str:
    """Of the runs of one training the one that counts: that with the most epochs, or the last of several.

    There is more than one where several machines began it at once, or under `mlflow run`, which gives each its own.
    """
    if len(found) > 1:
        there = [run for run in found if run.info.lifecycle_stage == "active"] or found
        found = sorted(there, key=lambda run: (last_epoch(run.info.run_id), run.info.start_time))
    return str(found[-1].info.run_id)


def _quoted(name: str) -> str:
    """Of use in a query, which knows no way to write a quotation mark."""
    if "'" in name:
        raise TrackingError(f"{name}: a study's name has no quotation marks")
    return name


def search(query: str) -> list[Any]:
    """All runs of all experiments that fit a query of MLflow's."""
    client = MlflowClient()
    experiments = [each.experiment_id for each in pages(client.search_experiments)]
    return pages(client.search_runs, experiment_ids=experiments, filter_string=query) if experiments else []
