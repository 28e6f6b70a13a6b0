"""Trains one network, epoch by epoch."""

from __future__ import annotations

import copy
import io
import math
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

import architectures
from orchestrator.data.whole import whole
from orchestrator.errors import RecipeError
from orchestrator.json_text import as_json
from orchestrator.learning.batches import Batch
from orchestrator.learning.devices import layout, reproducible, resolve_precision
from orchestrator.learning.recipe import Recipe
from orchestrator.learning.step import Average, Replayed, Step, replays

WEIGHTS, DROPOUT = 0, 1
"""What a random stream is for; beside the seed and the epoch it decides the stream."""


@dataclass(frozen=True)
class Epoch:
    """One finished pass over the training set.

    Attributes:
        number: from 1.
        loss: mean binary cross-entropy over the training images, as they were seen in passing, their labels smoothed.
        metrics: of the training images likewise, and whatever the validation says.
        seconds: wall clock, without the validation.
    """

    number: int
    loss: float
    metrics: Mapping[str, float]
    seconds: float


@dataclass
class Training:
    """A training between two epochs: all of its state that the recipe does not decide."""

    recipe: Recipe
    network: nn.Module
    optimiser: torch.optim.Optimizer
    device: torch.device
    epoch: int = 0
    average: Average | None = None
    rank: int = 0
    ranks: int = 1
    """Which this process is of those that train together, and how many they are; `ranks.joined` sets them."""


def begin(recipe: Recipe, bands: int, size: int, device: torch.device) -> Training:
    """Build the network and its optimiser; the recipe's seed decides the weights.

    Raises:
        RecipeError: the network refuses a hyperparameter or the size.
    """
    with _seeded(recipe.seed, 0, WEIGHTS, device):
        try:
            network = architectures.create(recipe.architecture, bands=bands, size=size, **recipe.hyperparameters)
        except ValueError as error:
            raise RecipeError(str(error)) from None
    network.to(device, memory_format=layout(device))  # type: ignore[call-overload]
    optimiser = _optimiser(recipe, network, device)
    average = Average(copy.deepcopy(network), recipe.ema) if recipe.ema else None
    return Training(recipe, network, optimiser, device, average=average)


def _optimiser(recipe: Recipe, network: nn.Module, device: torch.device) -> torch.optim.Optimizer:
    """On CUDA with all of its state on the device, the learning rate too, so that a graph can hold its step.

    There and on CPUs the steps are fused: one pass over the weights in place of ten.
    """
    there = device.type == "cuda"
    rate = torch.tensor(recipe.learning_rate, device=device) if there else recipe.learning_rate
    fused = True if device.type in ("cuda", "cpu") else None
    settings: dict[str, Any] = {"lr": rate, "weight_decay": recipe.weight_decay, "fused": fused}
    match recipe.optimiser:
        case "adam":
            return torch.optim.Adam(network.parameters(), eps=1e-7, capturable=there, **settings)
        case "adamw":
            return torch.optim.AdamW(network.parameters(), eps=1e-7, capturable=there, **settings)
        case "sgd":
            return torch.optim.SGD(network.parameters(), momentum=0.9, nesterov=True, **settings)


def _set_rate(group: dict[str, Any], rate: float) -> None:
    """In place where it is a tensor: a graph reads it there."""
    if isinstance(group["lr"], Tensor):
        group["lr"].fill_(rate)
    else:
        group["lr"] = rate


def learning_rate(recipe: Recipe, epoch: int) -> float:
    """Of an epoch, counted from 1; a cosine falls from the recipe's in the first towards 0 after the last."""
    if recipe.schedule == "constant":
        return recipe.learning_rate
    return recipe.learning_rate * (1 + math.cos(math.pi * (epoch - 1) / recipe.epochs)) / 2


def train(
    training: Training,
    batches: Callable[[int], Iterable[Batch]],
    until: int,
    validate: Callable[[nn.Module], Mapping[str, float]],
) -> Iterator[Epoch]:
    """Train on, in place, until that many epochs are done in all.

    Args:
        training: where to go on from.
        batches: the batches of an epoch by its number; it may report progress as it hands them out.
        until: number of the last epoch.
        validate: what else to know of the network after each epoch.

    Raises:
        RecipeError: the loss or the network is no longer finite.
    """
    recipe, device = training.recipe, training.device
    precision = resolve_precision(recipe.precision, device)
    network = training.network if training.ranks == 1 else DistributedDataParallel(training.network)
    step = Step(
        network, training.optimiser, training.average, precision, recipe.label_smoothing, device, training.ranks
    )
    take = Replayed(step) if replays(device) and training.ranks == 1 else step
    while training.epoch < until:
        number, start = training.epoch + 1, time.perf_counter()
        for group in training.optimiser.param_groups:
            _set_rate(group, learning_rate(recipe, number))
        with _seeded(recipe.seed, number, DROPOUT, device, training.rank), reproducible():
            loss, accuracy = _one_epoch(training, step, take, batches(number))
        seconds = time.perf_counter() - start
        finite = torch.stack([each.isfinite().all() for each in training.network.state_dict().values()]).all()
        if not (finite and np.isfinite(loss)):
            raise RecipeError(
                f"{recipe.architecture} diverged in epoch {number}, with a loss of {loss:g};"
                f" a learning_rate below {recipe.learning_rate:g} may help"
            )
        training.epoch = number
        yield Epoch(number, loss, {"accuracy": accuracy, **validate(training.network)}, seconds)


def _one_epoch(
    training: Training, step: Step, take: Callable[[Batch], None], batches: Iterable[Batch]
) -> tuple[float, float]:
    training.network.train()
    # Sums stay on the device: reading a value would make it wait at every step.
    step.summed.zero_(), step.right.zero_()
    seen = 0
    for batch in batches:
        if training.average:
            training.average.count()
        take(batch)
        seen += batch.whole
    if training.ranks > 1:
        distributed.all_reduce(step.summed)
        distributed.all_reduce(step.right)
    return float(step.summed) / seen, float(step.right) / seen


def save(training: Training, path: Path, notes: Mapping[str, Any]) -> None:
    """Write a checkpoint from which `restore` goes on bit for bit; never leaves half a file.

    Args:
        training: between two epochs.
        path: the file to write.
        notes: plain values to keep with it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {
        "recipe": training.recipe.model_dump(mode="json"),
        "epoch": training.epoch,
        "network": training.network.state_dict(),
        "optimiser": training.optimiser.state_dict(),
        "notes": dict(notes),
    }
    if training.average:
        state["average"] = {"network": training.average.network.state_dict(), "steps": training.average.steps}
    with whole(path) as partial:
        torch.save(state, partial)


def restore(training: Training, path: Path) -> dict[str, Any]:
    """Put a checkpoint's state into a training of the same recipe, and return its notes.

    With a constant learning rate, the recipe may ask for more epochs than the one the checkpoint is of.

    Raises:
        RecipeError: the file is no checkpoint, or one of another recipe.
        OSError: it is gone, or cannot be read now; that says nothing of what is in it.
    """
    stored = _read(path, training.device)
    try:
        free = ("epochs",) if training.recipe.schedule == "constant" else ()
        earlier = Recipe.model_validate_json(as_json(stored["recipe"]))
        same = earlier.digest_without(*free) == training.recipe.digest_without(*free)
        if same:
            training.network.load_state_dict(stored["network"])
            # Settings are the recipe's and this device's; on another they had another form.
            settings = training.optimiser.state_dict()["param_groups"]
            training.optimiser.load_state_dict({**stored["optimiser"], "param_groups": settings})
            _lay_out(training.optimiser)
            training.epoch = stored["epoch"]
            if training.average:
                training.average.network.load_state_dict(stored["average"]["network"])
                training.average.steps = stored["average"]["steps"]
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # a broken file can raise anything
        raise _unreadable(path, error) from None
    if not same:
        raise RecipeError(f"{path}: a checkpoint of another recipe")
    return dict(stored["notes"])


def _lay_out(optimiser: torch.optim.Optimizer) -> None:
    """Put its state in the order of the weights in memory, as fused steps ask for: earlier checkpoints have another."""
    for weights, state in optimiser.state.items():
        for key, value in state.items():
            if isinstance(value, Tensor) and value.shape == weights.shape:
                state[key] = torch.empty_like(weights).copy_(value)


def notes(path: Path) -> dict[str, Any]:
    """The notes that were kept with a checkpoint.

    Raises:
        RecipeError: the file is no checkpoint.
        OSError: as `restore`.
    """
    try:
        return dict(_read(path, torch.device("cpu"))["notes"])
    except (KeyError, TypeError) as error:
        raise _unreadable(path, error) from None


def _read(path: Path, device: torch.device) -> Any:
    content = path.read_bytes()  # of which torch would tell a failure and a torn file alike
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:  # torch does not look at its sums
            if damaged := archive.testzip():
                raise ValueError(f"{damaged} in it is damaged")
        return torch.load(io.BytesIO(content), map_location=device, weights_only=True)
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> RecipeError:
    return RecipeError(f"{path}: not a readable checkpoint ({str(error).partition(chr(10))[0]})")


@contextmanager
def _seeded(seed: int, epoch: int, purpose: int, device: torch.device, rank: int = 0) -> Iterator[None]:
    """Draw from a stream of its own, and leave the global one as it was."""
    decides = [seed, epoch, purpose, *([rank] if rank else [])]
    state = np.random.SeedSequence(decides).generate_state(1, np.uint64)[0]
    others = [] if device.type == "cpu" else [device]
    with torch.random.fork_rng(others, device_type=device.type if others else "cuda"):
        torch.manual_seed(int(state))
        yield
