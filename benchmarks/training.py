"""Images a second of a training from packed cutouts to weights, augmentation included, beside the loop one would write.

    .venv/bin/python benchmarks/training.py [network …] [--sets space] [--batches 8 32 128] [--precisions float32]

That loop has a DataLoader, kornia's transformations one after the other, float32, and memory as the C library has it.
Each runs in a process of its own, and they take turns, epoch by epoch.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import statistics
import tempfile
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import _original
import numpy as np
import torch
from _machine import seconds, show
from _sets import packed

import architectures
from orchestrator.data import cache
from orchestrator.data.challenge import SETS
from orchestrator.data.cutouts import Cutouts
from orchestrator.learning import devices
from orchestrator.learning.batches import Batches
from orchestrator.learning.recipe import recipe
from orchestrator.learning.training import begin, train

PLAIN = "plain loop"


def opened(folder: Path) -> Cutouts:
    """The packed set."""
    cutouts = cache.load(folder / "set", "asinh", folder / "packed")
    assert cutouts is not None
    return cutouts


def ours(name: str, folder: Path, batch: int, precision: str) -> Callable[[], object]:
    """An epoch of the program."""
    device, cutouts = devices.choose("cpu"), opened(folder)
    settings = {"batch_size": batch, "precision": precision, "normalisation": "asinh"}
    asked = recipe({"architecture": name, "epochs": 1000, **settings})
    rows = np.arange(len(cutouts))
    batches = Batches(cutouts.pixels, cutouts.labels, rows, batch, device, asked.augment, asked.seed, asked.strength)
    training = begin(asked, cutouts.pixels.shape[1], cutouts.pixels.shape[-1], device)
    return lambda: list(train(training, batches.epoch, training.epoch + 1, lambda _: {}))


def plain(name: str, folder: Path, batch: int) -> Callable[[], object]:
    """An epoch as one would write it."""
    import kornia.augmentation as chain
    from torch.utils.data import DataLoader

    cutouts = opened(folder)
    pairs = [(torch.from_numpy(np.array(cutouts.pixels[n])), float(cutouts.labels[n])) for n in range(len(cutouts))]
    loader = DataLoader(pairs, batch_size=batch, shuffle=True)  # type: ignore[arg-type]
    augment = torch.nn.Sequential(
        *(chain.RandomHorizontalFlip(), chain.RandomVerticalFlip(), chain.RandomRotation90((1, 3))),
        chain.RandomAffine(0.0, translate=(0.1, 0.1), p=0.5, padding_mode="reflection"),
        chain.RandomAffine(0.0, scale=(0.75, 1.0), p=0.5, padding_mode="reflection"),
        chain.RandomAffine(0.0, shear=(-11.0, 11.0, -11.0, 11.0), p=0.5, padding_mode="reflection"),
    )
    network = architectures.create(name, bands=cutouts.pixels.shape[1]).train()
    optimiser = torch.optim.Adam(network.parameters(), eps=1e-7)

    def epoch() -> None:
        for images, labels in loader:
            loss = torch.nn.functional.binary_cross_entropy_with_logits(network(augment(images)), labels.float())
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    return epoch


def serve(pipe: Connection, name: str, folder: Path, batch: int, precision: str) -> None:
    """Train an epoch whenever asked for, and tell how many seconds it took."""
    epoch = plain(name, folder, batch) if precision == PLAIN else ours(name, folder, batch, precision)
    while pipe.recv():
        pipe.send(seconds(epoch))


def measure(
    name: str, folder: Path, batch: int, precisions: list[str], images: int, repeats: int
) -> tuple[list[str], float]:
    """Cells of a row: images a second, and ratios to the plain loop, medians over the repeats; and the most of ours."""
    start, kinds, pipes, workers = multiprocessing.get_context("spawn"), [PLAIN, *precisions], [], []
    for kind in kinds:
        here, there = start.Pipe()
        workers.append(start.Process(target=serve, args=(there, name, folder, batch, kind), daemon=True))
        workers[-1].start()
        pipes.append(here)

    def turn() -> list[float]:
        taken = []
        for pipe in pipes:
            pipe.send(True)
            taken.append(pipe.recv())
        return taken

    turn()  # warms up
    turns = [turn() for _ in range(repeats)]
    for pipe, worker in zip(pipes, workers, strict=True):
        pipe.send(False)
        worker.join()
    rates = [images / statistics.median(each) for each in zip(*turns, strict=True)]
    ratios = [f"{statistics.median(each[0] / each[number] for each in turns):.2f}" for number in range(1, len(kinds))]
    ours = [cell for rate, ratio in zip(rates[1:], ratios, strict=True) for cell in (f"{rate:,.0f}", ratio)]
    return [f"{rates[0]:,.0f}", *ours], max(rates[1:])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=architectures.names(), help="default: all")
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--batches", nargs="+", type=int, default=[8, 32, 128])
    parser.add_argument("--precisions", nargs="+", default=["float32", "bfloat16"], choices=["float32", "bfloat16"])
    parser.add_argument("--images", type=int, default=256, help="of an epoch")
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    rows, scaled = [], _original.scale()
    with tempfile.TemporaryDirectory() as place:
        for kind in asked.sets:
            folder = Path(place) / kind
            packed(folder, asked.images, "asinh", SETS[kind])
            for name, batch in itertools.product(asked.networks, asked.batches):
                cells, best = measure(name, folder, batch, asked.precisions, asked.images, asked.repeats)
                rows.append(
                    [name, kind, str(batch), *cells, *_original.cells(_original.TRAINED, name, kind, scaled, best)]
                )
    show(
        f"Images a second in training, {asked.images} images with augmentation, on the CPU with torch"
        f" {torch.__version__}; each ratio the median of {asked.repeats} turns",
        [
            "network",
            "set",
            "batch",
            PLAIN,
            *(cell for each in asked.precisions for cell in (each, "ratio")),
            *_original.HEADER,
        ],
        rows,
    )


if __name__ == "__main__":
    main()
