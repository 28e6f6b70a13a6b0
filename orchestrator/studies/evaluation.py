"""Tests a registered model on a set that it may never have seen, and records what came out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from orchestrator.data.cutouts import Cutouts
from orchestrator.errors import DataError
from orchestrator.learning.bootstrap import intervals
from orchestrator.learning.finder import find, half
from orchestrator.learning.metrics import measure_curve, roc
from orchestrator.reports.scores import as_csv
from orchestrator.tracking import runs
from orchestrator.tracking.models import Model


@dataclass(frozen=True)
class Evaluation:
    """What a model says of a set.

    Attributes:
        run_id: where it is recorded.
        ids: (n,) objects, ascending.
        labels: (n,) 1 a lens, 0 none, -1 unknown.
        logits: (n,) higher is more lens-like.
        probabilities: (n,) as the model has them, calibrated if it is.
        metrics: over the objects with a label; empty where there are not both classes.
        intervals: their confidence intervals, likewise.
    """

    run_id: str
    ids: NDArray[np.int64]
    labels: NDArray[np.int8]
    logits: NDArray[np.float64]
    probabilities: NDArray[np.float64]
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]


def evaluate(uri: str, model: Model, cutouts: Cutouts, device: torch.device, experiment: str) -> Evaluation:
    """Score a set of raw flux, and record metrics, ROC curve and every score as a run of the kind evaluation.

    Raises:
        DataError: the set is the other one.
    """
    if cutouts.set != model.set:
        raise DataError(
            f"{cutouts.root}: a {cutouts.set.name} set, and {uri} was trained on {model.set.name} images"
            f" ({len(model.set.bands)} bands)"
        )
    run_id = runs.begin(experiment, "evaluation", f"{uri} on {cutouts.root.name}")
    with runs.running(run_id):
        logits, probabilities = find(model.finder, cutouts.pixels, device)
        labelled = cutouts.labels >= 0
        tested = runs.tested_digest(cutouts.ids[labelled].tolist(), cutouts.labels[labelled])
        about = {"model": uri, "dataset": str(cutouts.root), "dataset.digest": cutouts.digest, "tested": tested}
        runs.log_params(run_id, about)
        runs.log_tags(run_id, {"set": cutouts.set.name})
        runs.log_dataset(run_id, cutouts, "evaluation")
        metrics, found = {}, {}
        if set(cutouts.labels[labelled]) == {0, 1}:
            curve = roc(cutouts.labels[labelled], logits[labelled], half=half(logits, probabilities))
            runs.log_params(run_id, {"half": str(curve.half)})
            metrics = measure_curve(curve)
            found = intervals(curve)
            runs.log_metrics(run_id, metrics)
            runs.log_intervals(run_id, found)
            runs.log_roc(run_id, curve, f"{uri} on {cutouts.root.name}")
        runs.log_text(run_id, as_csv(cutouts.ids, cutouts.labels, logits, probabilities), "scores.csv")
    return Evaluation(run_id, cutouts.ids, cutouts.labels, logits, probabilities, metrics, found)
