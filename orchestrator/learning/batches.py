"""Hands out the batches of an epoch."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from orchestrator.learning.augment import augment

ORDER, AUGMENTATION = 2, 3
"""What a random stream is for; beside the seed and the epoch it decides the stream."""

AHEAD = 4
"""Batches read ahead where the cutouts do not fit."""


class Batch(NamedTuple):
    """Images (n, bands, size, size) and labels (n,), float32 on the device."""

    images: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Batches:
    """The training set of one training.

    Order and augmentation depend on seed and epoch alone, never on what came before.

    Attributes:
        pixels: (n, bands, size, size) float32; may be a memory map larger than memory.
        labels: (n,) 0 or 1 where `rows` points.
        rows: which of them are trained on.
        batch_size: images a batch; a single one left over joins the batch before it, since batch norm needs two.
        device: where batches are wanted.
        augment: names of transformations; none switches augmentation off.
        seed: of order and augmentation.
    """

    pixels: NDArray[np.float32]
    labels: NDArray[np.int8]
    rows: NDArray[np.int64]
    batch_size: int
    device: torch.device
    augment: Sequence[str]
    seed: int

    def __len__(self) -> int:
        return len(self._cuts()) + 1

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of that epoch, each time the same."""
        order = self._rng(number, ORDER).permutation(self.rows)
        generator = torch.Generator()
        generator.manual_seed(int(self._rng(number, AUGMENTATION).integers(2**63)))
        for images, labels in self._raw(np.split(order, self._cuts())):
            yield Batch(augment(images, generator, transformations=self.augment), labels)

    def _cuts(self) -> list[int]:
        cuts = list(range(self.batch_size, len(self.rows), self.batch_size))
        return cuts[:-1] if cuts and len(self.rows) - cuts[-1] == 1 else cuts

    def _rng(self, epoch: int, purpose: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, epoch, purpose])

    def _raw(self, parts: list[NDArray[np.int64]]) -> Iterator[Batch]:
        if self.device.type == "cpu":  # memory-mapped pixels are as near as can be
            yield from map(self._read, parts)
        else:
            yield from ahead(map(self._read, parts), AHEAD)

    def _read(self, rows: NDArray[np.int64]) -> Batch:
        images = torch.from_numpy(np.ascontiguousarray(self.pixels[rows]))
        labels = torch.from_numpy(self.labels[rows].astype(np.float32))
        if self.device.type == "cuda":
            images, labels = images.pin_memory(), labels.pin_memory()
        return Batch(images.to(self.device, non_blocking=True), labels.to(self.device, non_blocking=True))


def ahead(batches: Iterator[Batch], count: int) -> Iterator[Batch]:
    """Read up to `count` batches ahead in a thread; its errors arrive where the batch would have."""
    ready: queue.Queue[Batch | BaseException | None] = queue.Queue(count)
    stop = threading.Event()

    def put(item: Batch | BaseException | None) -> bool:
        while not stop.is_set():
            try:
                ready.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def read() -> None:
        try:
            for batch in batches:
                if not put(batch):
                    return
            put(None)
        except BaseException as error:
            put(error)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        thread.join()
