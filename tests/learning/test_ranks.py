"""Several processes train the network that one would."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from orchestrator.errors import RecipeError, Unreachable
from orchestrator.learning.batches import Batches
from orchestrator.learning.ranks import joined
from orchestrator.learning.recipe import Recipe, recipe
from orchestrator.learning.training import Epoch, Training, begin, restore, save, train

CPU, SIZE, COUNT = torch.device("cpu"), 32, 22


def ask(**settings: Any) -> Recipe:
    still = {"hyperparameters": {"dropout": 0.0}}
    return recipe({"architecture": "lens_flow", "epochs": 2, "batch_size": 5, "seed": 3, **still, **settings})


def set_of(wanted: Recipe, folder: Path, **settings: Any) -> Batches:
    pixels = np.memmap(folder / "pixels", np.float32, "w+", shape=(COUNT, 1, SIZE, SIZE))
    pixels[:] = np.random.default_rng(0).normal(size=pixels.shape)
    labels = (np.arange(COUNT) % 2).astype(np.int8)
    given = wanted.batch_size, CPU, wanted.augment, wanted.seed
    return Batches(pixels, labels, np.arange(COUNT), *given, **settings)


def run(
    training: Training,
    batches: Batches,
    until: int,
    ranks: int = 1,
    validate: Callable[[torch.nn.Module], dict[str, float]] = lambda network: {},
) -> list[Epoch]:
    with joined(training, batches, ranks) as share:
        return list(train(training, share.epoch, until, validate))


@pytest.mark.parametrize("room", [0, 10**9], ids=["read ahead", "resident"])
def test_the_shares_of_a_batch_are_its_images_as_they_are_for_one_process(room: int, tmp_path: Path) -> None:
    whole = set_of(ask(), tmp_path, room=room)
    shares = [set_of(ask(), tmp_path, room=room, rank=rank, ranks=3) for rank in range(3)]
    for batch, *parts in zip(whole.epoch(2), *(each.epoch(2) for each in shares), strict=True):
        images, labels = batch
        for rank, part in enumerate(parts):
            assert part.whole == batch.whole == len(images)
            for ours, theirs in zip(part, (images, labels), strict=True):
                assert torch.equal(ours, theirs[rank::3])


@pytest.mark.slow
def test_two_processes_go_on_from_a_checkpoint_to_the_network_of_one_within_rounding(tmp_path: Path) -> None:
    # SGD, which unlike Adam heeds how large gradients are.
    wanted = ask(epochs=3, optimiser="sgd", learning_rate=0.05, ema=0.5)
    alone, together = (begin(wanted, 1, SIZE, CPU) for _ in range(2))
    batches = set_of(wanted, tmp_path)
    run(alone, batches, 1)
    save(alone, tmp_path / "checkpoint.pt", {})
    restore(together, tmp_path / "checkpoint.pt")
    expected, found = run(alone, batches, 3), run(together, batches, 3, ranks=2)
    for one, other in zip(expected, found, strict=True):
        assert other.loss == pytest.approx(one.loss, rel=1e-5)
        assert other.metrics == one.metrics
    assert alone.average is not None
    assert together.average is not None
    for ours, theirs in ((together.network, alone.network), (together.average.network, alone.average.network)):
        torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), rtol=1e-3, atol=1e-5)
    assert not multiprocessing.active_children()


@pytest.mark.slow
def test_a_killed_process_ends_the_others_and_is_told(tmp_path: Path) -> None:
    def kill(network: torch.nn.Module) -> dict[str, float]:
        [other] = multiprocessing.active_children()
        os.kill(other.pid, signal.SIGKILL)
        return {}

    wanted = ask(epochs=1000)
    training = begin(wanted, 1, SIZE, CPU)
    with pytest.raises(Unreachable, match="process 1 of those that train together ended: status -9"):
        run(training, set_of(wanted, tmp_path), 1000, 2, kill)
    assert not multiprocessing.active_children()


def test_batch_norm_on_a_cpu_is_refused_for_several(tmp_path: Path) -> None:
    wanted = ask(architecture="wsi_net", hyperparameters={"width": 1})
    with pytest.raises(RecipeError, match="wsi_net has batch norm, which several processes share on GPUs alone"):
        run(begin(wanted, 1, SIZE, CPU), set_of(wanted, tmp_path), 1, ranks=2)
