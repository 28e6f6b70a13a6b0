"""One row of the table of results: all that is measured and recorded of a network at an epoch count."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from orchestrator.data.challenge import CutoutFiles, scan
from orchestrator.data.cutouts import Cutouts
from orchestrator.data.fits import read_cutout
from orchestrator.data.normalise import prepare
from orchestrator.data.splits import Split
from orchestrator.learning.bootstrap import intervals
from orchestrator.learning.completeness import completeness
from orchestrator.learning.devices import describe
from orchestrator.learning.inference import score
from orchestrator.learning.metrics import measure_curve, roc
from orchestrator.learning.timing import time_end_to_end, time_network
from orchestrator.learning.training import Epoch, Training
from orchestrator.reports.mistakes import mistakes
from orchestrator.reports.results import EMA, RAW
from orchestrator.reports.scores import as_csv
from orchestrator.studies.bench import Bench
from orchestrator.tracking import models, records, runs

VALIDATION = "validation_scores.csv"
"""Attached to a row: the scores of the validation set, which networks are compared by while they are searched."""

TIMED = 32
"""Cutouts a batch when the time per image is measured."""


def record(
    training: Training,
    epoch: Epoch,
    bench: Bench,
    parts: Split,
    trial: str,
    validate: Callable[[nn.Module], Mapping[str, float]],
) -> None:
    """Record the row of the network's weights, and that of their running average where one is kept."""
    own = {"loss": epoch.loss, **{key: value for key, value in epoch.metrics.items() if key.startswith("val_")}}
    if records.find_row(trial, epoch.number) is None:
        _record(training.network, RAW, own, training, bench, parts, trial)
    average = training.average
    if average and records.find_row(trial, epoch.number, EMA) is None:
        _record(average.network, EMA, validate(average.network), training, bench, parts, trial)


def _record(
    network: nn.Module,
    weights: str,
    known: Mapping[str, float],
    training: Training,
    bench: Bench,
    parts: Split,
    trial: str,
) -> None:
    recipe, epochs, device = training.recipe, training.epoch, bench.device
    trained, tested = bench.cutouts[recipe.normalisation], bench.tested(recipe)
    rows = parts.test if tested is trained else np.flatnonzero(tested.labels >= 0)
    logits, labels = score(network, tested.pixels, device, rows=rows), tested.labels[rows]
    curve = roc(labels, logits)
    own = parts.validation
    validated = as_csv(trained.ids[own], trained.labels[own], score(network, trained.pixels, device, rows=own))
    timing, how = time_per_image(network, tested, device)
    columns = {name: values[rows][labels == 1] for name, values in tested.columns.items()}
    title = f"{recipe.architecture}, {epochs} epochs"

    digest = runs.tested_digest(tested.ids[rows].tolist(), labels)
    run_id = runs.begin_row(bench.experiment, trial, bench.study, recipe, epochs, trained, digest, weights)
    with runs.running(run_id):
        models.log(run_id, network, recipe, trained)
        timing["cold_start_seconds"] = _cold_start(run_id, tested, device)
        runs.log_params(run_id, how)
        runs.log_metrics(run_id, {**known, **measure_curve(curve), **timing}, epochs)
        runs.log_intervals(run_id, intervals(curve), epochs)
        runs.log_text(run_id, as_csv(tested.ids[rows], labels, logits), "scores.csv")
        runs.log_text(run_id, validated, VALIDATION)
        runs.log_roc(run_id, curve, title)
        runs.log_completeness(run_id, completeness(columns, logits[labels == 1], curve))
        runs.log_mistakes(run_id, mistakes(tested, rows, logits), f"The worst mistakes of {title}")
        runs.log_dataset(run_id, tested, "testing")


def _cold_start(run_id: str, cutouts: Cutouts, device: torch.device) -> float:
    """Seconds from the recorded model to its first score."""
    start = time.perf_counter()
    models.load(f"runs:/{run_id}/model", device).network(torch.from_numpy(np.array(cutouts.pixels[:1])).to(device))
    return time.perf_counter() - start


def time_per_image(
    network: nn.Module, cutouts: Cutouts, device: torch.device
) -> tuple[dict[str, float], dict[str, str]]:
    """Seconds per image, from the files and of the network alone, and how they were measured."""
    bad = {each.id for each in cutouts.bad}
    files = [each for each in scan(cutouts.root).objects if each.id not in bad][:TIMED]
    images = torch.from_numpy(np.array(cutouts.pixels[: len(files)])).to(device)
    alone = time_network(network, images)
    whole = time_end_to_end(lambda: _read(files, cutouts.normalisation), network, device)
    return (
        {"seconds_per_image": whole.seconds, "network_seconds_per_image": alone.seconds},
        {
            "timing.device": whole.device if device.type == "cuda" else describe(device)["processor"],
            "timing.batch_size": str(whole.batch_size),
            "timing.repeats": str(whole.repeats),
            "timing.outliers": str(whole.outliers),
        },
    )


def _read(files: list[CutoutFiles], normalisation: str) -> NDArray[np.float32]:
    return prepare(np.stack([read_cutout(each.paths) for each in files]), normalisation)[0]
