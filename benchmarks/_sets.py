"""A simulated set for benchmarks."""

from __future__ import annotations

from pathlib import Path

from orchestrator.data import cache
from orchestrator.data.challenge import SPACE, ImagingSet
from orchestrator.data.cutouts import Cutouts
from orchestrator.data.simulation import simulate


def packed(
    folder: Path, images: int, normalisation: str, imaging: ImagingSet = SPACE, difficulty: float = 0.0
) -> Cutouts:
    """So many images, made in a folder, packed and opened."""
    for _ in simulate(folder / "set", imaging, images, seed=1, difficulty=difficulty, workers=2):
        pass
    for _ in cache.build(folder / "set", normalisation, folder / "packed"):
        pass
    cutouts = cache.load(folder / "set", normalisation, folder / "packed")
    assert cutouts is not None
    return cutouts
