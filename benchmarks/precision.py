"""What bfloat16 does to a network: AUC and TPR10 of trainings in float32 and in bfloat16, with the same seeds.

    .venv/bin/python benchmarks/precision.py [network …] [--sets space] [--seeds 5] [--objects 3000] [--epochs 20]

A third of the simulated objects is trained on, with augmentation, and the others are tested on; scores are computed in
float32 after both. A difference is the mean over seeds, bfloat16 less float32, with its standard error; it lies within
the spread of seeds where it is smaller than the standard deviation over seeds in float32.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from _machine import seconds, show
from _sets import packed

import architectures
from orchestrator.data.challenge import SETS
from orchestrator.data.cutouts import Cutouts
from orchestrator.learning import devices
from orchestrator.learning.batches import Batches
from orchestrator.learning.inference import score
from orchestrator.learning.metrics import METRICS, roc
from orchestrator.learning.recipe import recipe
from orchestrator.learning.training import begin, train

PRECISIONS, MEASURED = ("float32", "bfloat16"), ("auc", "tpr10")


def trained(name: str, cutouts: Cutouts, precision: str, seed: int, epochs: int, batch: int) -> list[float]:
    """Seconds that a training took, and what of `MEASURED` came of it."""
    settings = {"batch_size": batch, "precision": precision, "seed": seed, "normalisation": "asinh"}
    asked = recipe({"architecture": name, "epochs": epochs, **settings})
    rows = np.random.default_rng(seed).permutation(len(cutouts))
    learnt, tested = np.split(rows, [len(rows) // 3])
    device = torch.device("cpu")
    batches = Batches(cutouts.pixels, cutouts.labels, learnt, batch, device, asked.augment, seed, asked.strength)
    training = begin(asked, cutouts.pixels.shape[1], cutouts.pixels.shape[-1], device)
    taken = seconds(lambda: list(train(training, batches.epoch, epochs, lambda _: {})))
    curve = roc(cutouts.labels[tested], score(training.network, cutouts.pixels, device, rows=tested))
    return [taken, *(METRICS[metric](curve) for metric in MEASURED)]


def compare(name: str, cutouts: Cutouts, seeds: int, epochs: int, batch: int) -> list[str]:
    """One row of the table; the two precisions take turns."""
    both = np.array(
        [[trained(name, cutouts, each, seed, epochs, batch) for each in PRECISIONS] for seed in range(seeds)]
    )
    faster = float(np.median(both[:, 0, 0] / both[:, 1, 0]))
    cells = []
    for number in range(1, 1 + len(MEASURED)):
        full, half = both[:, 0, number], both[:, 1, number]
        difference, spread = half - full, full.std(ddof=1)
        within = "within" if abs(difference.mean()) < spread else "**beyond**"
        cells += [
            f"{full.mean():.4f} ± {spread:.4f}",
            f"{half.mean():.4f} ± {half.std(ddof=1):.4f}",
            f"{difference.mean():+.4f} ± {difference.std(ddof=1) / np.sqrt(seeds):.4f}, {within}",
        ]
    return [name, cutouts.set.name, *cells, f"{faster:.2f}"]


def main() -> None:
    """Train, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=architectures.names(), help="default: all")
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--objects", type=int, default=3000)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--difficulty", type=float, default=-0.7)
    asked = parser.parse_args()
    devices.choose("cpu")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for kind in asked.sets:
            cutouts = packed(Path(folder) / kind, asked.objects, "asinh", SETS[kind], asked.difficulty)
            rows += [compare(name, cutouts, asked.seeds, asked.epochs, asked.batch) for name in asked.networks]
    show(
        f"bfloat16 against float32, {asked.seeds} seeds, {asked.objects // 3} simulated objects of difficulty"
        f" {asked.difficulty:g} trained on and {asked.objects - asked.objects // 3} tested on, {asked.epochs} epochs,"
        f" batches of {asked.batch}; mean ± standard deviation",
        ["network", "set"]
        + [f"{m}, {what}" for m in MEASURED for what in (*PRECISIONS, "difference")]
        + ["times as fast"],
        rows,
    )


if __name__ == "__main__":
    main()
