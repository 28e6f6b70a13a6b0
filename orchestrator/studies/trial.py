"""One training with all that watches it: records, checkpoints, and a row at each epoch count."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from orchestrator.data.challenge import CutoutFiles, scan
from orchestrator.data.cutouts import Cutouts
from orchestrator.data.fits import read_cutout
from orchestrator.data.normalise import prepare
from orchestrator.data.splits import OFFICIAL, Split, split
from orchestrator.errors import DataError, RecipeError
from orchestrator.learning.batches import Batches
from orchestrator.learning.bootstrap import intervals
from orchestrator.learning.inference import score
from orchestrator.learning.metrics import measure, measure_curve, roc
from orchestrator.learning.recipe import Recipe
from orchestrator.learning.timing import time_end_to_end, time_network
from orchestrator.learning.training import Epoch, Training, begin, restore, save, train
from orchestrator.reports.scores import as_csv
from orchestrator.tracking import models, runs

CHECKPOINTS = Path("checkpoints")
SAVE_EVERY = 30.0
"""Seconds of training that a kill may cost."""

TIMED = 32
"""Cutouts a batch when the time per image is measured."""


@dataclass(frozen=True)
class Bench:
    """What the trainings of one study share.

    Attributes:
        cutouts: normalisation → the set so normalised, trained and validated on, and tested on unless there is `test`.
        test: likewise a set of its own to test on, or None.
        device: where to compute.
        experiment: identifier of the MLflow experiment.
        study: name of the study.
    """

    cutouts: Mapping[str, Cutouts]
    test: Mapping[str, Cutouts] | None
    device: torch.device
    experiment: str
    study: str


def run(
    recipe: Recipe, counts: Sequence[int], bench: Bench, parent: str | None, name: str
) -> Generator[Epoch, None, None]:
    """Train, and record a row at each epoch count; goes on from a checkpoint of the same recipe, data and study.

    Raises:
        RecipeError: the network does not take the cutouts, or diverges.
        DataError: the set has too few objects of a class.
    """
    cutouts, device = bench.cutouts[recipe.normalisation], bench.device
    parts = _parts(recipe, bench, cutouts)
    bands, size = cutouts.pixels.shape[1], cutouts.pixels.shape[-1]
    training, run_id = begin(recipe, bands, size, device), None
    checkpoint = CHECKPOINTS / bench.study / f"{recipe.digest}-{cutouts.digest}.pt"
    if checkpoint.exists() and not runs.attached():
        run_id = str(restore(training, checkpoint)["run_id"])
        if not runs.exists(run_id):  # recorded in another store, or deleted since
            training, run_id = begin(recipe, bands, size, device), None
    if run_id is None:
        run_id = runs.begin(bench.experiment, "trial", name, parent=parent, study=bench.study)
        runs.log_training(run_id, recipe, cutouts, device)
    batches = Batches(
        cutouts.pixels, cutouts.labels, parts.train, recipe.batch_size, device, recipe.augment, recipe.seed
    )

    def validate(network: nn.Module) -> Mapping[str, float]:
        logits = score(network, cutouts.pixels, device, rows=parts.validation)
        return {f"val_{key}": value for key, value in measure(cutouts.labels[parts.validation], logits).items()}

    with runs.running(run_id):
        recorded, saved = runs.last_epoch(run_id), time.monotonic()
        for epoch in train(training, batches.epoch, recipe.epochs, validate):
            if epoch.number > recorded:
                runs.log_metrics(run_id, {"loss": epoch.loss, "seconds": epoch.seconds, **epoch.metrics}, epoch.number)
            if epoch.number in counts and runs.find_row(run_id, epoch.number) is None:
                _record(training, epoch, bench, parts, run_id)
            if epoch.number in counts or time.monotonic() - saved > SAVE_EVERY:
                save(training, checkpoint, {"run_id": run_id})
                saved = time.monotonic()
            yield epoch
    checkpoint.unlink(missing_ok=True)


def _parts(recipe: Recipe, bench: Bench, cutouts: Cutouts) -> Split:
    if recipe.split == OFFICIAL and bench.test is None:
        raise RecipeError("split 'official' needs a set to test on (--test-data)")
    labels = cutouts.labels
    parts = split(labels, recipe.split, recipe.seed)
    for part, rows in (("training", parts.train), ("validation", parts.validation)):
        for label, kind in ((1, "lenses"), (0, "non-lenses")):
            if not (labels[rows] == label).any():
                raise DataError(
                    f"{cutouts.root}: no {kind} for {part}: {int((labels == 1).sum())} lenses and"
                    f" {int((labels == 0).sum())} non-lenses are labelled, and split {recipe.split} takes some of each"
                )
    return parts


def _record(training: Training, epoch: Epoch, bench: Bench, parts: Split, trial: str) -> None:
    recipe, network = training.recipe, training.network
    trained = bench.cutouts[recipe.normalisation]
    tested = bench.test[recipe.normalisation] if bench.test else trained
    rows = np.flatnonzero(tested.labels >= 0) if bench.test else parts.test
    logits = score(network, tested.pixels, bench.device, rows=rows)
    curve = roc(tested.labels[rows], logits)
    timing, how = time_per_image(network, tested, bench.device)
    validation = {key: value for key, value in epoch.metrics.items() if key.startswith("val_")}

    run_id = runs.begin_row(bench.experiment, trial, bench.study, recipe, epoch.number, trained)
    with runs.running(run_id):
        runs.log_params(run_id, how)
        runs.log_metrics(run_id, {"loss": epoch.loss, **measure_curve(curve), **validation, **timing}, epoch.number)
        runs.log_intervals(run_id, intervals(curve), epoch.number)
        runs.log_text(run_id, as_csv(tested.ids[rows], tested.labels[rows], logits), "scores.csv")
        runs.log_roc(run_id, curve, f"{recipe.architecture}, {epoch.number} epochs")
        runs.log_dataset(run_id, tested, "testing")
        models.log(run_id, network, recipe, trained)


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
            "timing.device": whole.device,
            "timing.batch_size": str(whole.batch_size),
            "timing.repeats": str(whole.repeats),
            "timing.outliers": str(whole.outliers),
        },
    )


def _read(files: list[CutoutFiles], normalisation: str) -> NDArray[np.float32]:
    return prepare(np.stack([read_cutout(each.paths) for each in files]), normalisation)[0]
