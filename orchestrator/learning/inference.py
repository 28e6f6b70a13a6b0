"""Scores cutouts with a network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from orchestrator.learning.devices import reproducible

BATCH = 64
"""Cutouts at once; more are slower on a CPU."""


def score(
    network: Callable[[Tensor], Tensor],
    pixels: NDArray[np.float32],
    device: torch.device,
    *,
    rows: NDArray[np.int64] | None = None,
    batch_size: int = BATCH,
) -> NDArray[np.float64]:
    """Compute the logits of many cutouts, batch by batch, in float32: half precision ties what a network tells apart.

    Args:
        network: images (n, bands, size, size) to logits (n,).
        pixels: (n, bands, size, size), normalised as the network was trained; may be a memory map.
        device: where the network is.
        rows: which of them, by default all.
        batch_size: images at once.

    Returns:
        (rows,) float64; probabilities would saturate.
    """
    with evaluating(network), torch.inference_mode():
        found = [network(each).cpu().numpy() for each in batches(pixels, device, rows, batch_size)]
    return np.concatenate([np.empty(0), *found])


def batches(
    pixels: NDArray[np.float32], device: torch.device, rows: NDArray[np.int64] | None = None, batch_size: int = BATCH
) -> Iterator[Tensor]:
    """Copy cutouts to a device, so many at once."""
    chosen = np.arange(len(pixels)) if rows is None else rows
    for start in range(0, len(chosen), batch_size):
        yield torch.from_numpy(np.ascontiguousarray(pixels[chosen[start : start + batch_size]])).to(device)


@contextmanager
def evaluating(network: Callable[..., Any]) -> Iterator[None]:
    """Switch dropout and batch statistics off for a while; an exported network has them off for good."""
    switched = isinstance(network, nn.Module) and network.training and not isinstance(network, torch.fx.GraphModule)
    if switched:
        network.eval()  # type: ignore[attr-defined]
    try:
        with reproducible():
            yield
    finally:
        if switched:
            network.train()  # type: ignore[attr-defined]
