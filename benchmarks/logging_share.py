"""What share of an epoch goes into recording it: lens_flow, 2,000 images, MLflow in SQLite and behind a server."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import torch
from _machine import show
from _sets import packed
from _stores import mlflow_server

from orchestrator.learning.recipe import recipe
from orchestrator.studies import trial
from orchestrator.studies.bench import Bench
from orchestrator.tracking import runs, store

IMAGES, TRAINED = 2500, 2000
EPOCHS = 12
"""The last one is left out: a row is recorded after it."""


def main() -> None:
    """Measure and print."""
    with ExitStack() as left, tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        folder = Path(name)
        cutouts = packed(folder, IMAGES, "zscale")
        rows = []
        server = left.enter_context(mlflow_server(folder))
        for place, uri in (("SQLite", f"sqlite:///{folder}/own.db"), ("a server", server), ("SQLite, again", None)):
            store.connect(uri or f"sqlite:///{folder}/own.db")
            bench = Bench({"zscale": cutouts}, None, torch.device("cpu"), store.experiment("logging"), place)
            epochs, logged = measured(bench, len(rows))
            share = statistics.median(logged) / statistics.median(epochs)
            times = [f"{statistics.median(each):.4f}" for each in (epochs, logged)]
            rows.append([place, *times, f"{100 * share:.2f} %"])
    title = f"Recording an epoch of lens_flow, {TRAINED:,} images, median of {EPOCHS - 1} epochs; goal: under 2 %"
    show(title, ["MLflow in", "epoch, seconds", "of it recording", "share"], rows)


def measured(bench: Bench, seed: int) -> tuple[list[float], list[float]]:
    """Seconds of each epoch, and of what was recorded of it."""
    epochs, logged = [], []
    log = runs.log_metrics

    def timed(*given: object) -> None:
        begin = time.perf_counter()
        log(*given)  # type: ignore[arg-type]
        logged.append(time.perf_counter() - begin)

    asked = recipe({"architecture": "lens_flow", "epochs": EPOCHS, "split": "0.8/0.1/0.1", "seed": seed})
    training = trial.run(asked, [EPOCHS], bench, None, "lens_flow")
    next(training)  # a run is begun with it
    runs.log_metrics = timed
    begin = time.perf_counter()
    for epoch in training:
        epochs.append(time.perf_counter() - begin)
        begin = time.perf_counter()
        if epoch.number == EPOCHS - 1:
            break
    runs.log_metrics = log
    training.close()
    return epochs, logged


if __name__ == "__main__":
    main()
