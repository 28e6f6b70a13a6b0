"""A simulated Space set for benchmarks."""

from __future__ import annotations

from pathlib import Path

from orchestrator.data import cache
from orchestrator.data.challenge import SPACE
from orchestrator.data.cutouts import Cutouts
from orchestrator.data.simulation import simulate


def packed(folder: Path, images: int, normalisation: str) -> Cutouts:
    """So many images, made in a folder, packed and opened."""
    for _ in simulate(folder / "set", SPACE, images, seed=1, workers=2):
        pass
    for _ in cache.build(folder / "set", normalisation, folder / "packed"):
        pass
    cutouts = cache.load(folder / "set", normalisation, folder / "packed")
    assert cutouts is not None
    return cutouts
