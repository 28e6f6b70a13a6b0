"""One row of the table of results: all that is measured and recorded of a network at an epoch count."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from orchestrator.data.challenge import SETS, CutoutFiles, scan
from orchestrator.data.cutouts import Cutouts
from orchestrator.data.fits import read_cutout
from orchestrator.data.normalise import prepare
from orchestrator.data.splits import Split
from orchestrator.learning.bootstrap import intervals
from orchestrator.learning.completeness import completeness
from orchestrator.learning.devices import describe
from orchestrator.learning.finder import Finder, find
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

SIMULATED = 8
"""Simulated cutouts on which a recorded model is compared with its network."""


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
    rows = bench.tested_rows(recipe, parts)
    logits, labels = score(network, tested.pixels, device, rows=rows), tested.labels[rows]
    curve = roc(labels, logits)
    own = parts.validation
    validated = as_csv(trained.ids[own], trained.labels[own], score(network, trained.pixels, device, rows=own))
    timing, how = time_per_image(network, tested, device)
    columns = {name: values[rows][labels == 1] for name, values in tested.columns.items()}
    title = f"{recipe.architecture}, {epochs} epochs"

    digest = runs.tested_digest(tested.ids[rows].tolist(), labels)
    run_id = runs.begin_row(bench.experiment, trial, bench.study, recipe, epochs, trained, tested, digest, weights)
    with runs.running(run_id):
        about = {"architecture": recipe.architecture, "normalisation": recipe.normalisation}
        models.log(run_id, Finder(network, recipe.normalisation), trained.set, about)
        measured = {**timing, **_as_recorded(run_id, network, recipe.normalisation, tested, device)}
        runs.log_params(run_id, how)
        runs.log_metrics(run_id, {**known, **measure_curve(curve), **measured}, epochs)
        runs.log_intervals(run_id, intervals(curve), epochs)
        runs.log_text(run_id, as_csv(tested.ids[rows], labels, logits), "scores.csv")
        runs.log_text(run_id, validated, VALIDATION)
        runs.log_roc(run_id, curve, title)
        runs.log_completeness(run_id, completeness(columns, logits[labels == 1], curve))
        runs.log_mistakes(run_id, mistakes(tested, rows, logits), f"The worst mistakes of {title}")
        runs.log_dataset(run_id, tested, "testing")


def _as_recorded(
    run_id: str, network: nn.Module, normalisation: str, cutouts: Cutouts, device: torch.device
) -> dict[str, float]:
    """Seconds from the recorded model to its first score, and how far its logits are from the network's.

    The difference is the largest of cutouts of the set and of simulated ones, and relative above 1.
    """
    flux = np.concatenate([_raw(_files(cutouts)), _simulated(cutouts.set.name)])
    start = time.perf_counter()
    finder = models.load(f"runs:/{run_id}/model", device).finder
    find(finder, flux[:1], device)
    seconds = time.perf_counter() - start
    expected = score(network, prepare(flux, normalisation)[0], device)
    difference = np.abs(find(finder, flux, device)[0] - expected) / np.maximum(1, np.abs(expected))
    return {"cold_start_seconds": seconds, "logit_difference": float(difference.max())}


@functools.cache
def _simulated(imaging: str) -> NDArray[np.float32]:
    """A few simulated cutouts of a set."""
    from orchestrator.data.simulation.population import draw
    from orchestrator.data.simulation.render import render

    return np.stack([render(SETS[imaging], draw(SETS[imaging], 0, index, 0.0)).pixels for index in range(SIMULATED)])


def time_per_image(
    network: nn.Module, cutouts: Cutouts, device: torch.device
) -> tuple[dict[str, float], dict[str, str]]:
    """Seconds per image, from the files and of the network alone, and how they were measured."""
    files = _files(cutouts)
    images = torch.from_numpy(np.array(cutouts.pixels[: len(files)])).to(device)
    alone = time_network(network, images)
    whole = time_end_to_end(lambda: prepare(_raw(files), cutouts.normalisation)[0], network, device)
    return (
        {"seconds_per_image": whole.seconds, "network_seconds_per_image": alone.seconds},
        {
            "timing.device": whole.device if device.type == "cuda" else describe(device)["processor"],
            "timing.batch_size": str(whole.batch_size),
            "timing.repeats": str(whole.repeats),
            "timing.outliers": str(whole.outliers),
        },
    )


def _files(cutouts: Cutouts) -> list[CutoutFiles]:
    """The first objects of a set, as many as are timed."""
    bad = {each.id for each in cutouts.bad}
    return [each for each in scan(cutouts.root).objects if each.id not in bad][:TIMED]


def _raw(files: list[CutoutFiles]) -> NDArray[np.float32]:
    return np.stack([read_cutout(each.paths) for each in files])
