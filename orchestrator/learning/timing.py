"""Measures the time per image, the way the paper defines it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from orchestrator.learning.devices import model
from orchestrator.learning.inference import evaluating

OUTLIER = 3.0
"""The paper leaves out what differs significantly; here, by so many times the scaled median absolute deviation."""

FEWEST, ENOUGH = 3, 2.0
"""Of a slow network there are no more than so many repeats once so many seconds were spent."""


@dataclass(frozen=True)
class Timing:
    """Seconds per image, the median of the repeats that are no outliers, and how they were measured."""

    seconds: float
    device: str
    batch_size: int
    repeats: int
    outliers: int


def time_network(network: Callable[[Tensor], Tensor], images: Tensor, repeats: int = 5) -> Timing:
    """Time the network alone on one batch that is on the device already, after a warm-up."""
    with evaluating(network), torch.inference_mode():
        return _repeat(lambda: network(images), images.device, len(images), repeats)


def time_end_to_end(
    read: Callable[[], NDArray[np.float32]],
    network: Callable[[Tensor], Tensor],
    device: torch.device,
    repeats: int = 5,
) -> Timing:
    """Time everything from file to logit: `read` opens, normalises and returns one batch of cutouts."""

    def work() -> object:
        return network(torch.from_numpy(read()).to(device)).cpu()

    with evaluating(network), torch.inference_mode():
        return _repeat(work, device, len(read()), repeats)


def without_outliers(seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Leave out repeats that something else on the machine disturbed."""
    distance = np.abs(seconds - np.median(seconds))
    kept: NDArray[np.float64] = seconds[distance <= OUTLIER * 1.4826 * np.median(distance)]
    return kept


def _repeat(work: Callable[[], object], device: torch.device, images: int, repeats: int) -> Timing:
    seconds: list[float] = []
    while len(seconds) <= repeats and not (len(seconds) > FEWEST and sum(seconds) > ENOUGH):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        elif device.type == "mps":
            torch.mps.synchronize()
        seconds.append(time.perf_counter() - start)
    measured = np.array(seconds[1:])  # the first is the warm-up
    kept = without_outliers(measured)
    return Timing(float(np.median(kept)) / images, model(device), images, len(measured), len(measured) - len(kept))
