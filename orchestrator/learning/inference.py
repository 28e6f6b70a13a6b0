"""Scores cutouts with a network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from orchestrator.learning.devices import reproducible


def score(
    network: Callable[[Tensor], Tensor],
    pixels: NDArray[np.float32],
    device: torch.device,
    *,
    rows: NDArray[np.int64] | None = None,
    batch_size: int = 64,
) -> NDArray[np.float64]:
    """Compute the logits of many cutouts, batch by batch, in float32: half precision ties what a network tells apart.

    Args:
        network: images (n, bands, size, size) to logits (n,); one exported by torch.export will do.
        pixels: (n, bands, size, size), normalised as the network was trained; may be a memory map.
        device: where the network is.
        rows: which of them, by default all.
        batch_size: images at once.

    Returns:
        (rows,) float64; probabilities would saturate.
    """
    chosen = np.arange(len(pixels)) if rows is None else rows
    logits = np.empty(len(chosen))
    with evaluating(network), torch.inference_mode():
        for start in range(0, len(chosen), batch_size):
            part = np.ascontiguousarray(pixels[chosen[start : start + batch_size]])
            logits[start : start + len(part)] = network(torch.from_numpy(part).to(device)).cpu()
    return logits


@contextmanager
def evaluating(network: Callable[[Tensor], Tensor]) -> Iterator[None]:
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
