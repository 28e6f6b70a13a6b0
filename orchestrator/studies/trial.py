"""One training with all that watches it: records, checkpoints, and a row at each epoch count."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from orchestrator.data.challenge import CutoutFiles, scan
from orchestrator.data.cutouts import Cutouts
from orchestrator.data.fits import read_cutout
from orchestrator.data.normalise import prepare
from orchestrator.data.splits import OFFICIAL, Split, split
from orchestrator.errors import DataError, RecipeError
from orchestrator.learning.batches import Batches
from orchestrator.learning.inference import score
from orchestrator.learning.metrics import METRICS, Roc, roc
from orchestrator.learning.recipe import Recipe
from orchestrator.learning.timing import time_end_to_end, time_network
from orchestrator.learning.training import Epoch, Training, begin, restore, save, train
from orchestrator.tracking import runs

CHECKPOINTS = Path("checkpoints")
SAVE_EVERY = 30.0
"""Seconds of training that a kill may cost."""

TIMED = 32
"""Cutouts a batch when the time per image is measured."""


@dataclass(frozen=True)
class Bench:
    """What trainings of one study share.

    Attributes:
        cutouts: trained and validated on, and tested on unless there is `test`.
        test: a set of its own to test on, or None.
        device: where to compute.
        experiment: identifier of the MLflow experiment.
        study: name of the study.
    """

    cutouts: Cutouts
    test: Cutouts | None
    device: torch.device
    experiment: str
    study: str


def run(recipe: Recipe, counts: list[int], bench: Bench, parent: str | None, name: str) -> Iterator[Epoch]:
    """Train, and record a row at each epoch count; goes on from a checkpoint of the same recipe and data.

    Raises:
        RecipeError: the network does not take the cutouts, or diverges.
        DataError: the set has too few objects of a class.
    """
    cutouts, device = bench.cutouts, bench.device
    parts = _parts(recipe, bench)
    training = begin(recipe, cutouts.pixels.shape[1], cutouts.pixels.shape[-1], device)
    batches = Batches(
        cutouts.pixels, cutouts.labels, parts.train, recipe.batch_size, device, recipe.augment, recipe.seed
    )
    checkpoint = CHECKPOINTS / f"{recipe.digest}-{cutouts.digest}.pt"
    notes = restore(training, checkpoint) if checkpoint.exists() else {}
    known = str(notes.get("run_id", ""))
    if known and runs.exists(known):
        run_id = known
    else:
        training = begin(recipe, cutouts.pixels.shape[1], cutouts.pixels.shape[-1], device) if known else training
        run_id = runs.begin(bench.experiment, "trial", name, parent=parent, study=bench.study)
        runs.log_training(run_id, recipe, cutouts, device)

    def validate(network: nn.Module) -> Mapping[str, float]:
        logits = score(network, cutouts.pixels, device, rows=parts.validation)
        return {f"val_{key}": value for key, value in _measure(cutouts, parts.validation, logits)[1].items()}

    with runs.running(run_id):
        recorded, saved = runs.last_epoch(run_id), time.monotonic()
        for epoch in train(training, batches.epoch, recipe.epochs, validate):
            if epoch.number > recorded:
                seen = {"loss": epoch.loss, "seconds": epoch.seconds, **epoch.metrics}
                runs.log_metrics(run_id, seen, epoch.number)
            if epoch.number in counts and runs.find_row(bench.experiment, run_id, epoch.number) is None:
                _record(training, epoch, bench, parts, run_id)
            if epoch.number in counts or time.monotonic() - saved > SAVE_EVERY:
                save(training, checkpoint, {"run_id": run_id})
                saved = time.monotonic()
            yield epoch
    checkpoint.unlink(missing_ok=True)


def _parts(recipe: Recipe, bench: Bench) -> Split:
    if recipe.split == OFFICIAL and bench.test is None:
        raise RecipeError("split 'official' needs a set to test on (--test-data)")
    labels = bench.cutouts.labels
    parts = split(labels, recipe.split, recipe.seed)
    for part, rows in (("training", parts.train), ("validation", parts.validation)):
        for label, kind in ((1, "lenses"), (0, "non-lenses")):
            if not (labels[rows] == label).any():
                raise DataError(
                    f"{bench.cutouts.root}: no {kind} for {part}: {int((labels == 1).sum())} lenses and"
                    f" {int((labels == 0).sum())} non-lenses are labelled, and split {recipe.split} takes some of each"
                )
    return parts


def _measure(cutouts: Cutouts, rows: np.ndarray, logits: np.ndarray) -> tuple[Roc, dict[str, float]]:  # type: ignore[type-arg]
    curve = roc(cutouts.labels[rows], logits)
    return curve, {key: metric(curve) for key, metric in METRICS.items()}


def _record(training: Training, epoch: Epoch, bench: Bench, parts: Split, run_id: str) -> None:
    tested = bench.test or bench.cutouts
    rows = parts.test if bench.test is None else np.flatnonzero(tested.labels >= 0)
    curve, measured = _measure(tested, rows, score(training.network, tested.pixels, bench.device, rows=rows))
    timing, how = time_per_image(training.network, tested, bench.device)
    validation = {key: value for key, value in epoch.metrics.items() if key.startswith("val_")}
    metrics = {"loss": epoch.loss, **measured, **validation, **timing}
    runs.log_row(
        bench.experiment, run_id, bench.study, training.recipe, epoch.number,
        metrics, curve, how, tested, training.network,
    )  # fmt: skip


def time_per_image(
    network: nn.Module, cutouts: Cutouts, device: torch.device
) -> tuple[dict[str, float], dict[str, str]]:
    """Seconds per image, from the files and of the network alone, and how they were measured."""
    bad = {each.id for each in cutouts.bad}
    files = [each for each in scan(cutouts.root).objects if each.id not in bad][:TIMED]
    images = torch.from_numpy(np.ascontiguousarray(cutouts.pixels[: len(files)])).to(device)
    alone = time_network(network, images)
    whole = time_end_to_end(lambda: _read(files, cutouts.normalisation), network, device)
    return (
        {"seconds_per_image": whole.seconds, "network_seconds_per_image": alone.seconds},
        {"timing.batch_size": str(len(files)), "timing.repeats": str(whole.repeats), "timing.device": str(device)},
    )


def _read(files: list[CutoutFiles], normalisation: str) -> np.ndarray:  # type: ignore[type-arg]
    return prepare(np.stack([read_cutout(each.paths) for each in files]), normalisation)[0]
