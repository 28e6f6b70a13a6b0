"""Small sets written by astropy, an author of FITS files that knows nothing of our reader."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from numpy.typing import NDArray

from orchestrator.data.challenge import SIZE, SPACE, ImagingSet, cutout_path

FIRST = 100_000


@pytest.fixture(scope="session")
def sky() -> Callable[[int], NDArray[np.float32]]:
    """Makes a galaxy in noise, in the challenge's units, for each number."""

    def draw(number: int) -> NDArray[np.float32]:
        rng = np.random.default_rng(number)
        y, x = np.mgrid[:SIZE, :SIZE] - rng.uniform(45, 55, (2, 1, 1))
        galaxy = 10 ** rng.uniform(-12, -10) * np.exp(-np.hypot(x, y) / rng.uniform(2, 8))
        return (galaxy + rng.normal(0, 7.8e-13, (SIZE, SIZE))).astype(np.float32)

    return draw


@pytest.fixture
def make_set(tmp_path: Path, sky: Callable[[int], NDArray[np.float32]]) -> Callable[..., Path]:
    """Writes a set of `count` objects, alternately lenses and not, as one data folder and a training key."""

    def make(
        imaging: ImagingSet = SPACE, count: int = 6, *, part: int = 0, first: int = FIRST, to: str = "set"
    ) -> Path:
        root = tmp_path / to
        for number, identifier in enumerate(range(first, first + count)):
            for channel, band in enumerate(imaging.bands):
                path = cutout_path(root, imaging, part, band, identifier)
                path.parent.mkdir(parents=True, exist_ok=True)
                fits.PrimaryHDU(sky(10 * (first + number) + channel)).writeto(path)
        rows = [f"{first + number},{number % 2},{number / 4}" for number in range(count)]
        folder = root if part == 0 else root / f"{imaging.folder}.{part}"
        (folder / "classifications.csv").write_text("\n".join(["ID,is_lens,Einstein_area", *rows]))
        return root

    return make


@pytest.fixture
def without_privileges() -> Iterator[None]:
    """Root may read everything: becomes nobody."""
    mine = os.geteuid()
    if mine == 0:
        os.seteuid(65534)
    yield
    os.seteuid(mine)
