"""One row of the table of results: all that is measured and recorded of a network at an epoch count."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from orchestrator.data.challenge import SETS, CutoutFiles, scan
from orchestrator.data.cutouts import Cutouts
from orchestrator.data.fits import read_cutout
from orchestrator.data.normalise import prepare
from orchestrator.data.splits import Split
from orchestrator.learning.bootstrap import intervals
from orchestrator.learning.completeness import completeness
from orchestrator.learning.devices import describe
from orchestrator.learning.finder import Finder, find, largest_difference
from orchestrator.learning.inference import score
from orchestrator.learning.metrics import measure_curve, roc
from orchestrator.learning.timing import time_end_to_end, time_network
from orchestrator.learning.training import Epoch, Training
from orchestrator.reports.mistakes import mistakes
from orchestrator.reports.results import EMA, RAW
from orchestrator.reports.scores import as_csv
from orchestrator.studies.bench import Bench
from orchestrator.tracking import artifacts, models, records, runs

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
    recipe, epochs = training.recipe, training.epoch
    trained, tested = bench.cutouts[recipe.normalisation], bench.tested(recipe)
    about = {
        "architecture": recipe.architecture,
        "normalisation": recipe.normalisation,
        "prevalence": float((trained.labels[parts.train] == 1).mean()),
    }
    title = f"{recipe.architecture}, {epochs} epochs"
    kind = f"{recipe.architecture} {recipe.hyperparameters}"
    finder, own = Finder(network, recipe.normalisation, f"{kind} {recipe.normalisation}"), parts.validation
    validated = as_csv(trained.ids[own], trained.labels[own], score(network, trained.pixels, bench.device, rows=own))
    candidate = Candidate(title, network, finder, about, known, epochs, {VALIDATION: validated})

    def begin(on: Mapping[str, str]) -> str:
        return runs.begin_row(bench.experiment, trial, bench.study, recipe, epochs, trained, tested, on, weights)

    put_on_record(candidate, tested, bench.tested_rows(recipe, parts), bench.device, begin)


@dataclass(frozen=True)
class Candidate:
    """What a row is of.

    Attributes:
        title: for a person.
        network: pixels (n, bands, size, size), as normalised in the set it is tested on, to logits (n,).
        finder: the same from raw flux on, to be recorded.
        about: further entries of its metadata; `prevalence`, the share of lenses it was trained on, among them.
        known: what was measured before, such as its metrics of the validation set.
        epochs: how many it was trained.
        files: name → text, to be attached too.
    """

    title: str
    network: Callable[[Tensor], Tensor]
    finder: nn.Module
    about: Mapping[str, Any]
    known: Mapping[str, float] = field(default_factory=dict)
    epochs: int = 0
    files: Mapping[str, str] = field(default_factory=dict)


def put_on_record(
    candidate: Candidate,
    tested: Cutouts,
    rows: NDArray[np.int64],
    device: torch.device,
    begin: Callable[[Mapping[str, str]], str],
) -> str:
    """Test a candidate, and record all that a line of the table needs.

    Args:
        candidate: the network.
        tested: the set it is tested on.
        rows: which of its objects.
        device: where to compute.
        begin: starts the run, given `orchestrator.tracking.runs.tested_on` of these objects.

    Returns:
        The run.
    """
    network, title = candidate.network, candidate.title
    logits, labels = score(network, tested.pixels, device, rows=rows), tested.labels[rows]
    curve = roc(labels, logits)
    timing, how = time_per_image(network, tested, device)
    columns = {name: values[rows][labels == 1] for name, values in tested.columns.items()}
    run_id = begin(runs.tested_on(tested, rows))
    with runs.running(run_id):
        models.log(run_id, candidate.finder, tested.set, candidate.about)
        measured = {**timing, **_as_recorded(run_id, network, tested, device)}
        runs.log_params(run_id, how)
        runs.log_metrics(run_id, {**candidate.known, **measure_curve(curve), **measured}, candidate.epochs)
        runs.log_intervals(run_id, intervals(curve), candidate.epochs)
        artifacts.log_text(run_id, as_csv(tested.ids[rows], labels, logits), "scores.csv")
        for name, text in candidate.files.items():
            artifacts.log_text(run_id, text, name)
        artifacts.log_roc(run_id, curve, title)
        artifacts.log_completeness(run_id, completeness(columns, logits[labels == 1], curve))
        artifacts.log_mistakes(run_id, mistakes(tested, rows, logits), f"The worst mistakes of {title}")
        runs.log_dataset(run_id, tested, "testing")
    return run_id


def _as_recorded(
    run_id: str, network: Callable[[Tensor], Tensor], cutouts: Cutouts, device: torch.device
) -> dict[str, float]:
    """Seconds from the recorded model to its first score, and how far its logits are from the network's.

    The difference is the largest of cutouts of the set and of simulated ones, and relative above 1.
    """
    flux = np.concatenate([raw(timed_files(cutouts)), simulated(cutouts.set.name)])
    start = time.perf_counter()
    finder = models.load(f"runs:/{run_id}/model", device).finder
    find(finder, flux[:1], device)
    seconds = time.perf_counter() - start
    expected = score(network, prepare(flux, cutouts.normalisation)[0], device)
    difference = largest_difference(find(finder, flux, device)[0], expected)
    return {"cold_start_seconds": seconds, "logit_difference": difference}


@functools.cache
def simulated(imaging: str) -> NDArray[np.float32]:
    """A few simulated cutouts of a set."""
    from orchestrator.data.simulation.population import draw
    from orchestrator.data.simulation.render import render

    return np.stack([render(SETS[imaging], draw(SETS[imaging], 0, index, 0.0)).pixels for index in range(SIMULATED)])


def time_per_image(
    network: Callable[[Tensor], Tensor], cutouts: Cutouts, device: torch.device
) -> tuple[dict[str, float], dict[str, str]]:
    """Seconds per image, from the files and of the network alone, and how they were measured."""
    files = timed_files(cutouts)
    images = torch.from_numpy(np.array(cutouts.pixels[: len(files)])).to(device)
    alone = time_network(network, images)
    whole = time_end_to_end(lambda: prepare(raw(files), cutouts.normalisation)[0], network, device)
    return (
        {"seconds_per_image": whole.seconds, "network_seconds_per_image": alone.seconds},
        {
            "timing.device": whole.device if device.type == "cuda" else describe(device)["processor"],
            "timing.batch_size": str(whole.batch_size),
            "timing.repeats": str(whole.repeats),
            "timing.outliers": str(whole.outliers),
        },
    )


def timed_files(cutouts: Cutouts) -> list[CutoutFiles]:
    """The first objects of a set, as many as are timed."""
    bad = {each.id for each in cutouts.bad}
    return [each for each in scan(cutouts.root).objects if each.id not in bad][:TIMED]


def raw(files: list[CutoutFiles]) -> NDArray[np.float32]:
    """The flux of objects (n, bands, size, size), as their files hold it."""
    return np.stack([read_cutout(each.paths) for each in files])
