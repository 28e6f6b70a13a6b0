"""A step asks the device for nothing; replayed, it is the step that it is otherwise."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import architectures
from orchestrator.learning import training as trainings
from orchestrator.learning.batches import Batch, Batches
from orchestrator.learning.recipe import Recipe, recipe
from orchestrator.learning.step import SWITCH, WARM_UP, Average, Replayed, Step
from orchestrator.learning.training import Training, begin, restore, save, train

CPU, SIZE = torch.device("cpu"), 69


def ask(**settings: Any) -> Recipe:
    return recipe({"architecture": "lens_flow", "epochs": 3, "batch_size": 4, "seed": 3, **settings})


def set_of(wanted: Recipe, device: torch.device, count: int = 22, **settings: Any) -> Batches:
    pixels = np.random.default_rng(0).normal(size=(count, 1, SIZE, SIZE)).astype(np.float32)
    labels = (np.arange(count) % 2).astype(np.int8)
    return Batches(pixels, labels, np.arange(count), wanted.batch_size, device, wanted.augment, wanted.seed, **settings)


def state(training: Training) -> list[Tensor]:
    optimiser = training.optimiser.state_dict()["state"]
    average = training.average.network.state_dict().values() if training.average else []
    rest = [value for each in optimiser.values() for value in each.values()]
    return [*training.network.state_dict().values(), *average, *rest]


def same(one: Training, other: Training) -> bool:
    return all(torch.equal(a, b) for a, b in zip(state(one), state(other), strict=True))


@pytest.mark.parametrize("architecture", architectures.names())
@pytest.mark.slow
def test_a_step_asks_no_device_for_a_value(architecture: str) -> None:
    there = torch.device("meta")  # which has none to give
    wanted = ask(architecture=architecture, label_smoothing=0.1)
    with there:
        network = architectures.create(architecture, bands=1, size=SIZE)
    average = Average(copy.deepcopy(network), 0.9)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    step = Step(network, optimiser, average, "float32", wanted.label_smoothing, there)
    step.device = CPU  # for autocast, which does not know the other
    average.count()
    step(next(set_of(wanted, there, room=10**9).epoch(1)))
    assert step.summed.device == there


def on_cpu(step: Callable[..., None]) -> Replayed:
    """All of it but the recording: a recording, too, does its work again on the parts that it was made with."""
    return Replayed(step, aside=lambda work: work(), record=lambda work: work)


@pytest.mark.parametrize("room", [0, 10**9], ids=["read ahead", "resident"])
@pytest.mark.parametrize("settings", [{}, {"optimiser": "sgd", "ema": 0.5, "schedule": "cosine", "augment": ()}])
def test_replayed_steps_train_the_very_network(
    room: int, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, replayed = (begin(ask(**settings), 1, SIZE, CPU) for _ in range(2))
    batches = set_of(plain.recipe, CPU, room=room)
    expected = [epoch.loss for epoch in train(plain, batches.epoch, 3, lambda network: {})]
    monkeypatch.setattr(trainings, "replays", lambda device: True)
    monkeypatch.setattr(trainings, "Replayed", on_cpu)
    assert [epoch.loss for epoch in train(replayed, batches.epoch, 3, lambda network: {})] == expected
    assert same(plain, replayed)


def test_batches_of_the_first_shape_alone_are_replayed_once_warm() -> None:
    done: list[tuple[str, int]] = []
    batches = set_of(ask(), CPU)
    parts = [batch.parts for batch in batches.epoch(1)]
    replayed = Replayed(
        lambda batch: done.append(("called", len(batch))),
        aside=lambda work: (done.append(("aside", 4)), work()),
        record=lambda work: lambda: done.append(("replayed", 4)),
    )
    for batch in batches.epoch(1):
        replayed(batch)
    assert [len(part[0]) for part in parts] == [4, 4, 4, 4, 4, 2]
    assert done == [("aside", 4), ("called", 4)] * WARM_UP + [("replayed", 4)] * 2 + [("called", 2)]


def test_a_checkpoint_of_another_device_goes_on_with_the_settings_of_this_one(tmp_path: Path) -> None:
    wanted = ask(schedule="cosine", augment=())
    through, there = (begin(wanted, 1, SIZE, CPU) for _ in range(2))
    batches = set_of(wanted, CPU)
    list(train(through, batches.epoch, 3, lambda network: {}))
    list(train(there, batches.epoch, 1, lambda network: {}))
    for group in there.optimiser.param_groups:  # as on CUDA
        group |= {"lr": torch.tensor(group["lr"]), "fused": True, "capturable": True}
    save(there, tmp_path / "checkpoint.pt", {})
    here = begin(wanted, 1, SIZE, CPU)
    restore(here, tmp_path / "checkpoint.pt")
    list(train(here, batches.epoch, 3, lambda network: {}))
    assert same(here, through)


cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")


@cuda
@pytest.mark.parametrize(
    "settings", [{}, {"optimiser": "adamw", "ema": 0.5}, {"optimiser": "sgd", "schedule": "cosine"}]
)
@pytest.mark.parametrize("architecture", architectures.names())
def test_cuda_graphs_train_the_very_network_however_often_they_are_broken_off(
    architecture: str, settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = torch.device("cuda")
    wanted = ask(architecture=architecture, **settings)
    batches = set_of(wanted, device)

    def trained(training: Training, until: int) -> Training:
        list(train(training, batches.epoch, until, lambda network: {}))
        return training

    monkeypatch.delenv(SWITCH, raising=False)
    plain = trained(begin(wanted, 1, SIZE, device), 3)
    monkeypatch.setenv(SWITCH, "1")
    assert same(plain, trained(begin(wanted, 1, SIZE, device), 3))
    save(trained(begin(wanted, 1, SIZE, device), 1), tmp_path / "checkpoint.pt", {})
    resumed = begin(wanted, 1, SIZE, device)
    restore(resumed, tmp_path / "checkpoint.pt")
    assert same(plain, trained(resumed, 3))


@cuda
@pytest.mark.parametrize("switch", ["0", "1"])
def test_no_step_on_cuda_is_waited_for(switch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    device, wanted = torch.device("cuda"), ask(ema=0.9, label_smoothing=0.1)
    monkeypatch.setenv(SWITCH, switch)
    training, batches = begin(wanted, 1, SIZE, device), set_of(wanted, device)
    watched: list[int] = []

    def watch(number: int) -> Iterator[Batch]:
        torch.cuda.set_sync_debug_mode("error" if number > 1 else "default")  # in the first, libraries are loaded
        try:
            yield from batches.epoch(number)
            watched.append(number)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    list(train(training, watch, 3, lambda network: {}))
    assert watched == [1, 2, 3]
