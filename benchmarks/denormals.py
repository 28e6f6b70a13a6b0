"""What numbers that decay to nothing cost a processor: late epochs of lens_flow on one thread, with and without."""

from __future__ import annotations

import copy
import os
import statistics
import tempfile
from pathlib import Path

import torch
from _machine import seconds, show
from _sets import packed

from orchestrator.learning.batches import Batches
from orchestrator.learning.recipe import recipe
from orchestrator.learning.training import begin, train
from orchestrator.learning.transformations import DIHEDRAL

CPU = torch.device("cpu")
IMAGES, BEFORE, PAIRS = 750, 90, 5
"""Objects, epochs that are trained before it is measured, and pairs of epochs then."""


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        folder = Path(name)
        cutouts = packed(folder, IMAGES, "asinh")
        settings = {"optimiser": "adam", "learning_rate": 5e-3, "weight_decay": 1.4e-3, "batch_size": 32}
        asked = recipe({"architecture": "lens_flow", "epochs": 1000, "normalisation": "asinh", **settings})
        rows = torch.arange(len(cutouts)).numpy()
        batches = Batches(cutouts.pixels, cutouts.labels, rows, asked.batch_size, CPU, DIHEDRAL, 1, 1.0)
        training = begin(asked, 1, 101, CPU)

        def until(epoch: int, flush: bool) -> None:
            torch.set_flush_denormal(flush)
            for _ in train(training, batches.epoch, epoch, lambda _: {}):
                pass

        until(BEFORE, False)
        pairs = []
        for epoch in range(BEFORE + 1, BEFORE + PAIRS + 1):
            before = copy.deepcopy(training)
            fast = seconds(lambda epoch=epoch: until(epoch, True))
            training = before
            pairs.append((fast, seconds(lambda epoch=epoch: until(epoch, False))))
    fast, slow = (statistics.median(each) for each in zip(*pairs, strict=True))
    ratio = statistics.median(slow / fast for fast, slow in pairs)
    title = f"An epoch of lens_flow after {BEFORE}, {IMAGES} images, adam with weight decay, {PAIRS} alternate pairs"
    show(
        title,
        ["taken for 0, seconds", "computed with, seconds", "ratio"],
        [[f"{fast:.2f}", f"{slow:.2f}", f"{ratio:.1f}"]],
    )


if __name__ == "__main__":
    main()
