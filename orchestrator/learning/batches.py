"""Hands out the batches of an epoch, from the device where the cutouts fit there, else read ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from orchestrator.errors import RecipeError
from orchestrator.learning.augment import augment
from orchestrator.learning.devices import room_for_data
from orchestrator.learning.transformations import ordered

ORDER, AUGMENTATION = 2, 3
"""What a random stream is for; beside the seed and the epoch it decides the stream."""

AHEAD = 4
"""Batches read ahead where the cutouts do not fit on the device."""

Given = TypeVar("Given")
Made = TypeVar("Made")


class Batch(NamedTuple):
    """Images (n, bands, size, size) and labels (n,), float32 on the device."""

    images: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Batches:
    """The training set of one training.

    Order and augmentation depend on seed and epoch alone, never on what came before nor on where the cutouts are.

    Attributes:
        pixels: (n, bands, size, size) float32; may be a memory map larger than memory.
        labels: (n,) 0 or 1 where `rows` points.
        rows: which of them are trained on.
        batch_size: images a batch, 2 or more; a single one left over joins the batch before it, since batch norm
            needs two.
        device: where batches are wanted.
        augment: names of transformations; none switches augmentation off.
        seed: of order and augmentation.
        strength: of the augmentation.
        room: bytes that the cutouts may fill on the device; by default what `room_for_data` says.

    Raises:
        RecipeError: there are fewer than two rows, or a transformation is none.
    """

    pixels: NDArray[np.float32]
    labels: NDArray[np.int8]
    rows: NDArray[np.int64]
    batch_size: int
    device: torch.device
    augment: Sequence[str]
    seed: int
    strength: float = 1.0
    room: int | None = None

    def __post_init__(self) -> None:
        ordered(self.augment)
        if len(self.rows) < 2:
            raise RecipeError(f"training takes two cutouts or more; there are {len(self.rows)}")

    def __len__(self) -> int:
        return len(self._cuts()) + 1

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of that epoch, each time the same."""
        parts = np.split(self._rng(number, ORDER).permutation(len(self.rows)), self._cuts())
        batches = ahead(self._read, parts, AHEAD) if self._resident is None else map(self._pick, parts)
        generator = torch.Generator()
        generator.manual_seed(int(self._rng(number, AUGMENTATION).integers(2**63)))
        for images, labels in batches:
            yield Batch(augment(images, generator, transformations=self.augment, strength=self.strength), labels)

    def _cuts(self) -> list[int]:
        cuts = list(range(self.batch_size, len(self.rows), self.batch_size))
        return cuts[:-1] if cuts and len(self.rows) - cuts[-1] == 1 else cuts

    def _rng(self, epoch: int, purpose: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, epoch, purpose])

    @cached_property
    def _resident(self) -> Batch | None:
        """All that is trained on, on the device; None where it does not fit."""
        room = room_for_data(self.device) if self.room is None else self.room
        count = len(self.rows)
        if self.pixels[:1].nbytes * count > room:
            return None
        everything = Batch(
            torch.empty((count, *self.pixels.shape[1:]), device=self.device), torch.empty(count, device=self.device)
        )
        for start in range(0, count, 1024):  # the host may not have room for a copy of all
            for whole, part in zip(everything, self._read(np.arange(start, min(start + 1024, count))), strict=True):
                whole[start : start + len(part)] = part
        return everything

    def _pick(self, places: NDArray[np.int64]) -> Batch:
        assert self._resident is not None
        index = torch.from_numpy(places).to(self.device)
        return Batch(*(each.index_select(0, index) for each in self._resident))

    def _read(self, places: NDArray[np.int64]) -> Batch:
        rows = self.rows[places]
        images = torch.from_numpy(np.ascontiguousarray(self.pixels[rows], dtype=np.float32))
        labels = torch.from_numpy(self.labels[rows].astype(np.float32))
        if self.device.type == "cuda":
            images, labels = images.pin_memory(), labels.pin_memory()
        return Batch(images.to(self.device, non_blocking=True), labels.to(self.device, non_blocking=True))


def ahead(make: Callable[[Given], Made], parts: Iterable[Given], count: int, threads: int = 1) -> Iterator[Made]:
    """Like `map`, with up to `count` results made ahead in threads; errors arrive where the result would have."""
    pool = ThreadPoolExecutor(threads)
    waiting: deque[Future[Made]] = deque()
    try:
        for part in parts:
            waiting.append(pool.submit(make, part))
            if len(waiting) > count:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
