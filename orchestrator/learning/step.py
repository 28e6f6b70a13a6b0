"""One step of a training, and how CUDA does many of them by replaying a recording of one."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from orchestrator.learning.batches import Batch
from orchestrator.learning.devices import autocast

SWITCH = "ORCHESTRATOR_CUDA_GRAPHS"
"""Variable of the environment that, set to 1, lets steps on CUDA be replayed."""

WARM_UP = 3
"""Steps before one is recorded: libraries choose their algorithms and optimisers make their state in the first ones."""


@dataclass
class Average:
    """A running average of a network's weights and batch statistics, as a network of its own."""

    network: nn.Module
    decay: float
    steps: int = 0

    def __post_init__(self) -> None:
        self._towards = torch.zeros((), device=next(self.network.parameters()).device)

    def count(self) -> None:
        """Decide, on the host, how far the next step goes: early on, when the average is of little, further."""
        self.steps += 1
        self._towards.fill_(1 - min(self.decay, self.steps / (self.steps + 9)))

    @torch.no_grad()
    def follow(self, network: nn.Module) -> None:
        """Take that step towards the network."""
        pairs = zip(self.network.state_dict().values(), network.state_dict().values(), strict=True)
        for mean, now in pairs:
            if mean.is_floating_point():
                mean.lerp_(now, self._towards)
            else:  # batch norm counts its batches
                mean.copy_(now)


@dataclass
class Step:
    """Trains on a batch, in place, without making the host wait for the device.

    Attributes:
        network: in training mode.
        optimiser: of its parameters.
        average: that follows the network; it has counted the step already.
        precision: of the forward pass, ``float32`` or ``bfloat16``.
        smoothing: of the labels, as the recipe's `label_smoothing`.
        ranks: processes that share each batch; the network then takes the mean of their gradients.
        summed: the losses of all images since it was 0.
        right: images on the right side of 0.5 since it was 0.
    """

    network: nn.Module
    optimiser: torch.optim.Optimizer
    average: Average | None
    precision: str
    smoothing: float
    device: torch.device
    ranks: int = 1
    summed: Tensor = field(init=False)
    right: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.summed, self.right = torch.zeros((), device=self.device), torch.zeros((), device=self.device)

    def __call__(self, batch: Batch) -> None:
        """Take the step."""
        images, labels = batch
        with autocast(self.device, self.precision):
            logits: Tensor = self.network(images)
        logits = logits.float()
        targets = labels + self.smoothing * (0.5 - labels)
        loss = binary_cross_entropy_with_logits(logits, targets, reduction="sum") / batch.whole
        self.optimiser.zero_grad(set_to_none=True)
        (loss * self.ranks).backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        if self.average:
            self.average.follow(self.network)
        self.summed += loss.detach() * batch.whole
        self.right += ((logits.detach() > 0) == (labels > 0.5)).sum()


def _aside(work: Callable[[], None]) -> None:
    """Work on a CUDA stream of its own, as has to be done before the same work is recorded."""
    aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        work()
    torch.cuda.current_stream().wait_stream(aside)


def _record(work: Callable[[], None]) -> Callable[[], None]:
    """Record work on CUDA without doing it; what is returned does it."""
    graph = torch.cuda.CUDAGraph()
    # Other threads may read ahead: what they ask of the device is no part of this.
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        work()
    return graph.replay


class Replayed:
    """Does to a batch what a step does; once warm, by replaying a CUDA graph in which one step was recorded.

    A step of a small network is hundreds of calls that each keep the device busy for less time than the host needs to
    ask for it; a graph is one call. It holds for batches of the first one's shape; others, as the last of an epoch
    often is, are done call by call, to the same result. Dropout draws what it would: a graph takes the seed and the
    place in the random stream from torch's generator whenever it is replayed.

    Args:
        step: launches work that neither waits for the device nor depends on anything of the host that changes; all it
            reads and changes, but for the parts of the batch, stays where it is in memory.
        aside: does the work before it is recorded.
        record: returns what does recorded work.
    """

    def __init__(
        self,
        step: Callable[[Batch], None],
        aside: Callable[[Callable[[], None]], None] = _aside,
        record: Callable[[Callable[[], None]], Callable[[], None]] = _record,
    ) -> None:
        self._step, self._do_aside, self._record = step, aside, record
        self._fixed: Batch | None = None
        self._done = 0
        self._replay: Callable[[], None] | None = None

    def __call__(self, batch: Batch) -> None:
        """Take the step, in one way or the other."""
        if self._fixed is None:
            self._fixed = Batch(batch.make, tuple(torch.empty_like(part) for part in batch.parts))
        if not _alike(batch, self._fixed):
            self._step(batch)
            return
        for place, part in zip(self._fixed.parts, batch.parts, strict=True):
            place.copy_(part)
        work = partial(self._step, self._fixed)
        if self._done < WARM_UP:
            self._done += 1
            self._do_aside(work)
        else:
            self._replay = self._replay or self._record(work)
            self._replay()


def _alike(one: Batch, other: Batch) -> bool:
    return one.make == other.make and [part.shape for part in one.parts] == [part.shape for part in other.parts]


def replays(device: torch.device) -> bool:
    """Whether steps are replayed there: on CUDA, where it is asked for."""
    return device.type == "cuda" and os.environ.get(SWITCH) == "1"
