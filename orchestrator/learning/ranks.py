"""Several processes train one network together, each on its share of every batch, on a device of its own.

The first of them is the one that was asked to: it alone validates, records and keeps checkpoints. The others do the
same steps beside it, and end with it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

import numpy as np
import torch
from torch import distributed, nn

from orchestrator.errors import AWAY, RecipeError, Unreachable, first_line
from orchestrator.learning import devices
from orchestrator.learning.batches import Batches
from orchestrator.learning.recipe import Recipe
from orchestrator.learning.training import Training, begin, restore, save, train

PATIENCE = timedelta(days=7)
"""How long the others wait while the first one validates and records; a process that ends is noticed at once."""

FEW = 10.0
"""Seconds in which one that has lost another is found to have ended itself."""


@contextmanager
def joined(training: Training, batches: Batches, count: int) -> Iterator[Batches]:
    """Have so many processes train on together, of which this one is the first; what it yields is its share.

    On CUDA the device of each is the one of its number, and batch norm takes its statistics of the whole batch; on CPUs
    torch cannot, and networks with batch norm are refused.

    Args:
        training: to train on, in place, up to the last epoch of its recipe at most.
        batches: of one process alone; cutouts that are no memory map are copied to each.
        count: of processes; with 1 nothing is done.

    Raises:
        RecipeError: the network cannot be trained so.
        Unreachable: one of the others was killed, or failed.
    """
    if count == 1:
        yield batches
        return
    spawn = multiprocessing.get_context("spawn")
    others: list[tuple[SpawnProcess, Connection]] = []
    over = threading.Event()
    with tempfile.TemporaryDirectory() as place:
        _distribute(training, 0, count)
        save(training, Path(place) / "checkpoint.pt", {})
        shape, pixels = batches.pixels.shape, batches.pixels
        where = str(pixels.filename) if isinstance(pixels, np.memmap) else pixels
        try:
            for rank in range(1, count):
                here, there = spawn.Pipe(duplex=False)
                device = torch.device("cuda", rank) if batches.device.type == "cuda" else batches.device
                share = replace(batches, pixels=pixels[:0], device=device, rank=rank, ranks=count)
                given = (training.recipe, share, where, shape, Path(place), there)
                process = spawn.Process(target=_follow, args=given, daemon=True)
                process.start()
                others.append((process, here))
                there.close()
            if training.device.type == "cuda":
                threading.Thread(target=_watch, args=(others, over), daemon=True).start()
            _meet(Path(place), training.device, 0, count)
            yield replace(batches, ranks=count)
        except RuntimeError as error:  # what torch raises where another one is gone
            if lost := _lost(others, FEW):
                raise Unreachable(lost) from error
            raise
        finally:
            over.set()
            for process, _ in others:
                process.kill()
                process.join()
            if distributed.is_initialized():
                distributed.destroy_process_group()
            training.ranks = 1


def _distribute(training: Training, rank: int, ranks: int) -> None:
    """Make a training one of several.

    Raises:
        RecipeError: it has batch norm, and the device does not compute it across processes; or fewer images a batch.
    """
    if training.recipe.batch_size < ranks:
        raise RecipeError(f"a batch of {training.recipe.batch_size} images has no share for each of {ranks} processes")
    normed = any(isinstance(each, nn.modules.batchnorm._BatchNorm) for each in training.network.modules())
    if normed and training.device.type != "cuda":
        raise RecipeError(f"{training.recipe.architecture} has batch norm, which several processes share on GPUs alone")
    if normed:
        training.network = nn.SyncBatchNorm.convert_sync_batchnorm(training.network)  # type: ignore[no-untyped-call]
    training.rank, training.ranks = rank, ranks


def _meet(place: Path, device: torch.device, rank: int, ranks: int) -> None:
    """Wait for the others, and be connected with them."""
    if device.type == "cuda":
        torch.cuda.set_device(device)
    elif Path("/sys/class/net/lo").exists():
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # a machine may not know its own name
    store = distributed.FileStore(str(place / "meeting"), ranks)  # type: ignore[attr-defined]
    backend = "nccl" if device.type == "cuda" else "gloo"
    distributed.init_process_group(backend, store=store, rank=rank, world_size=ranks, timeout=PATIENCE)


def _follow(
    recipe: Recipe,
    share: Batches,
    where: str | np.ndarray,
    shape: tuple[int, ...],
    place: Path,
    pipe: Connection,
) -> None:
    """Be one of the others: train as the first does, and say nothing but why it failed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first one is interrupted, and ends this one
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        devices.choose(str(share.device))
        pixels = np.memmap(where, np.float32, "r", shape=shape) if isinstance(where, str) else where
        share = replace(share, pixels=pixels)
        training = begin(recipe, shape[1], shape[-1], share.device)
        _distribute(training, share.rank, share.ranks)
        restore(training, place / "checkpoint.pt")
        _meet(place, share.device, share.rank, share.ranks)
        with suppress(RecipeError):  # it diverges for the first one, too
            for _ in train(training, share.epoch, recipe.epochs, lambda _: {}):
                pass
    except Exception as error:
        pipe.send(first_line(error))
        sys.exit(1)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(AWAY)


def _lost(others: list[tuple[SpawnProcess, Connection]], seconds: float | None) -> str | None:
    """Why one of the others ended before its time, once one does."""
    ended = wait([process.sentinel for process, _ in others], seconds)
    for process, _ in others:
        if process.sentinel in ended:
            process.join(FEW)  # its files are closed before its status can be had
    failed = [(process.exitcode, rank) for rank, (process, _) in enumerate(others) if process.exitcode]
    if not failed:
        return None
    status, rank = min(failed)  # one that was killed, before those that failed for it
    pipe = others[rank][1]
    why = pipe.recv() if status == 1 and pipe.poll() else f"status {status}"
    return f"process {rank + 1} of those that train together ended: {why}"


def _watch(others: list[tuple[SpawnProcess, Connection]], over: threading.Event) -> None:
    """End where another one does before its time: what NCCL waits for cannot be interrupted."""
    if (lost := _lost(others, None)) and not over.is_set():
        sys.stderr.write(f"Error: {lost}\n")
        os._exit(AWAY)
