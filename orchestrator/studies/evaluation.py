"""Tests a registered model on a set that it may never have seen, and records what came out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from orchestrator.data.cutouts import Cutouts, Objects
from orchestrator.errors import DataError, TrackingError
from orchestrator.learning.bootstrap import intervals
from orchestrator.learning.finder import find, half
from orchestrator.learning.metrics import measure_curve, roc
from orchestrator.learning.prevalence import Survey, corrected, survey
from orchestrator.reports.reliability import survey_page
from orchestrator.reports.scores import as_csv
from orchestrator.tracking import artifacts, registry, runs
from orchestrator.tracking.models import Model


@dataclass(frozen=True)
class Evaluation:
    """What a model says of a set.

    Attributes:
        run_id: where it is recorded.
        ids: (n,) objects, ascending.
        labels: (n,) 1 a lens, 0 none, -1 unknown.
        logits: (n,) higher is more lens-like.
        probabilities: (n,) as the model has them, calibrated if it is, or at the share of lenses that was given.
        metrics: over the objects with a label; empty where there are not both classes.
        intervals: their confidence intervals, likewise.
        survey: what is seen at the share of lenses on the sky, where one was given and there are both classes.
        seen: how many of the objects with a label the model was trained on; None where that is not on record.
    """

    run_id: str
    ids: NDArray[np.int64]
    labels: NDArray[np.int8]
    logits: NDArray[np.float64]
    probabilities: NDArray[np.float64]
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    survey: Survey | None
    seen: int | None


def evaluate(
    uri: str, model: Model, cutouts: Cutouts, device: torch.device, experiment: str, prevalence: float | None = None
) -> Evaluation:
    """Score a set of raw flux, and record metrics, ROC curve and every score as a run of the kind evaluation.

    Args:
        uri: what `model` was loaded from.
        model: as loaded.
        cutouts: raw flux.
        device: where the model is.
        experiment: to record in.
        prevalence: share of lenses on the sky, at which probabilities are to be; by default they are the model's.

    Raises:
        DataError: the set is the other one, or the prevalence no share.
        TrackingError: it is not on record at what share of lenses the model's probabilities are.
    """
    refuse_other_set(uri, model, cutouts)
    share = None if prevalence is None else share_of(uri, model)
    labelled, trained = np.flatnonzero(cutouts.labels >= 0), _trained_on(source(uri, model))
    seen = None if trained is None else int(np.isin(cutouts.content[labelled], trained.content).sum())
    run_id = runs.begin(experiment, "evaluation", f"{uri} on {cutouts.root.name}")
    with runs.running(run_id):
        logits, probabilities = find(model.finder, cutouts.pixels, device)
        at_half, told = half(logits, probabilities), None
        if prevalence is not None and share is not None:
            probabilities = corrected(probabilities, share, prevalence)
        runs.log_params(run_id, {"model": uri} | ({"prevalence": str(prevalence)} if prevalence else {}))
        runs.log_params(run_id, {} if seen is None else {"seen_in_training": str(seen)})
        title, rows = f"{uri} on {cutouts.root.name}", np.arange(len(cutouts))
        metrics, found = log_scored(run_id, title, cutouts, rows, logits, probabilities, at_half)
        if metrics and prevalence is not None:
            told = survey(cutouts.labels[labelled], logits[labelled], probabilities[labelled], prevalence)
            artifacts.log_text(run_id, survey_page(title, told), "survey.html")
    return Evaluation(run_id, cutouts.ids, cutouts.labels, logits, probabilities, metrics, found, told, seen)


def source(uri: str, model: Model) -> str:
    """The URI of a model that no alias moves."""
    return uri if uri.startswith("runs:/") else f"models:/{model.version}"


def run_of(source: str) -> str:
    """The run that a model came of."""
    kind, _, rest = source.partition(":/")
    return rest.partition("/")[0] if kind == "runs" else registry.find(source).run_id


def _trained_on(source: str) -> Objects | None:
    try:
        return artifacts.objects(run_of(source), "trained_on.npz")
    except TrackingError:  # its run was deleted, or the file is damaged
        return None


def refuse_other_set(uri: str, model: Model, cutouts: Cutouts) -> None:
    """Raise DataError where a model takes the images of the other set."""
    if cutouts.set != model.set:
        raise DataError(
            f"{cutouts.root}: a {cutouts.set.name} set, and {uri} was trained on {model.set.name} images"
            f" ({len(model.set.bands)} bands)"
        )


def share_of(uri: str, model: Model) -> float:
    """The share of lenses at which a model's probabilities are: that of its training, or of its calibration.

    Raises:
        TrackingError: it is not on record.
    """
    if "prevalence" not in model.about:
        raise TrackingError(
            f"{uri}: it is not on record at what share of lenses its probabilities are; `orchestrator calibrate` tells"
        )
    return float(model.about["prevalence"])


def log_scored(
    run_id: str,
    title: str,
    cutouts: Cutouts,
    rows: NDArray[np.int64],
    logits: NDArray[np.float64],
    probabilities: NDArray[np.float64],
    at_half: float,
) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """Record the scores of objects, their metrics and the ROC curve, and return the metrics and their intervals.

    Args:
        run_id: where.
        title: of the curve.
        cutouts: the set.
        rows: (n,) of the objects.
        logits: (n,) of them.
        probabilities: (n,) to be written beside.
        at_half: the logit that stands for probability 0.5.
    """
    ids, labels = cutouts.ids[rows], cutouts.labels[rows]
    known = labels >= 0
    data = {"dataset": str(cutouts.root), "dataset.digest": cutouts.digest, "half": str(at_half)}
    runs.log_params(run_id, data | runs.tested_on(cutouts, rows[known]))
    runs.log_tags(run_id, {"set": cutouts.set.name})
    runs.log_dataset(run_id, cutouts, "evaluation")
    metrics: dict[str, float] = {}
    found: dict[str, tuple[float, float]] = {}
    if set(labels[known]) == {0, 1}:
        curve = roc(labels[known], logits[known], half=at_half)
        metrics, found = measure_curve(curve), intervals(curve)
        runs.log_metrics(run_id, metrics)
        runs.log_intervals(run_id, found)
        artifacts.log_roc(run_id, curve, title)
    artifacts.log_text(run_id, as_csv(ids, labels, logits, probabilities), "scores.csv")
    return metrics, found
