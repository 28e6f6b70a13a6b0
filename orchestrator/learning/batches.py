"""Hands out the batches of an epoch, from the device where the cutouts fit there, else read ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import repeat
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from orchestrator.errors import RecipeError
from orchestrator.learning.augment import Moves, draw, move
from orchestrator.learning.devices import room_for_data
from orchestrator.learning.transformations import ordered

ORDER, AUGMENTATION = 2, 3
"""What a random stream is for; beside the seed and the epoch it decides the stream."""

AHEAD = 4
"""Batches read ahead where the cutouts do not fit on the device."""

DRAWN = 4096
"""Images for which the augmentation is drawn at once: so many that the host's part costs little a batch, and no more,
since of a million it would keep a GPU waiting before each epoch."""

Part = TypeVar("Part", NDArray[np.int64], Tensor)
Given = TypeVar("Given")
Made = TypeVar("Made")
Examples = tuple[Tensor, Tensor]
"""Images (n, bands, size, size) and labels (n,), float32 on the device."""


@dataclass(frozen=True, eq=False)
class Batch:
    """A batch that is put together where it is trained on, so that this can be part of the step.

    Unpacked, it is its images (n, bands, size, size) and labels (n,), float32 on the device.

    Attributes:
        make: gives the images and labels of its parts; the same for all batches of a training, and does not make the
            host wait for the device.
        parts: what is this batch's own, on the device.
        elsewhere: images of the batch that other processes train on.
    """

    make: Callable[..., Examples]
    parts: tuple[Tensor, ...]
    elsewhere: int = 0

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self.make(*self.parts))

    def __len__(self) -> int:
        return len(self.parts[0])

    @property
    def whole(self) -> int:
        """Images of the batch, those elsewhere too."""
        return len(self) + self.elsewhere


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
        rank: which of the processes that share each batch this is, from 0.
        ranks: how many they are; order and augmentation of the whole are those of one alone.

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
    rank: int = 0
    ranks: int = 1

    def __post_init__(self) -> None:
        ordered(self.augment)
        if len(self.rows) < 2:
            raise RecipeError(f"training takes two cutouts or more; there are {len(self.rows)}")

    def __len__(self) -> int:
        return len(self._cuts()) + 1

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of that epoch, each time the same."""
        order = self._rng(number, ORDER).permutation(len(self.rows))
        whole = np.split(order, self._cuts())
        counts = [len(part) for part in whole]
        moves = self._moves(number, counts) if self.augment else repeat(())
        make: Callable[..., Examples]
        given: Iterable[tuple[Tensor, ...]]
        if self._resident is None:
            make, given = _augmented, ahead(self._read, map(self._share, whole), AHEAD)
        else:
            places = torch.split(self._on_device(torch.from_numpy(order)), counts)
            make, given = self._pick, ((self._share(each),) for each in places)
        for what, how, count in zip(given, moves, counts, strict=False):
            parts = (*what, *map(self._share, how))
            yield Batch(make, parts, count - len(parts[0]))

    def _share(self, part: Part) -> Part:
        """What of a whole batch's is for this process."""
        return part[self.rank :: self.ranks]

    def _moves(self, epoch: int, counts: list[int]) -> Iterator[tuple[Tensor, ...]]:
        """How the images of each batch are augmented."""
        generator = torch.Generator()
        generator.manual_seed(int(self._rng(epoch, AUGMENTATION).integers(2**63)))
        batches = max(DRAWN // self.batch_size, 1)
        for start in range(0, len(counts), batches):
            some = counts[start : start + batches]
            drawn = draw(some, self.pixels.shape[-1], generator, self.augment, self.strength)
            yield from zip(*(torch.split(self._on_device(each), some) for each in drawn), strict=True)

    def _on_device(self, tensor: Tensor) -> Tensor:
        """Copied from memory that a GPU can read by itself, so that the host need not wait."""
        if self.device.type == "cuda":
            tensor = tensor.pin_memory()
        return tensor.to(self.device, non_blocking=True)

    def _cuts(self) -> list[int]:
        cuts = list(range(self.batch_size, len(self.rows), self.batch_size))
        return cuts[:-1] if cuts and len(self.rows) - cuts[-1] == 1 else cuts

    def _rng(self, epoch: int, purpose: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, epoch, purpose])

    @cached_property
    def _resident(self) -> Examples | None:
        """All that is trained on, on the device; None where it does not fit."""
        room = room_for_data(self.device) if self.room is None else self.room
        count = len(self.rows)
        if self.pixels[:1].nbytes * count > room:
            return None
        everything = (
            torch.empty((count, *self.pixels.shape[1:]), device=self.device),
            torch.empty(count, device=self.device),
        )
        for start in range(0, count, 1024):  # the host may not have room for a copy of all
            for whole, part in zip(everything, self._read(np.arange(start, min(start + 1024, count))), strict=True):
                whole[start : start + len(part)] = part
        return everything

    def _pick(self, places: Tensor, *moves: Tensor) -> Examples:
        assert self._resident is not None
        images, labels = (each.index_select(0, places) for each in self._resident)
        return _augmented(images, labels, *moves)

    def _read(self, places: NDArray[np.int64]) -> Examples:
        rows = self.rows[places]
        images = torch.from_numpy(np.ascontiguousarray(self.pixels[rows], dtype=np.float32))
        labels = torch.from_numpy(self.labels[rows].astype(np.float32))
        return self._on_device(images), self._on_device(labels)


def _augmented(images: Tensor, labels: Tensor, *moves: Tensor) -> Examples:
    return move(images, Moves(*moves)) if moves else images, labels


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
