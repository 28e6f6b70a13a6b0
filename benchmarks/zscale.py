"""ZScale of a batch against a call of astropy's `ZScaleInterval` for each image, alternately, on one thread."""

from __future__ import annotations

import statistics

import numpy as np
from _machine import seconds, show
from astropy.visualization import ZScaleInterval

from orchestrator.data.challenge import SIZE
from orchestrator.data.normalise import zscale
from orchestrator.data.packing import CHUNK

REPEATS, IMAGES = 15, 512


def sky() -> np.ndarray:
    """Galaxies in noise, in the challenge's units: (IMAGES, 1, SIZE, SIZE) float32."""
    rng = np.random.default_rng(0)
    radius = np.hypot(*(np.mgrid[:SIZE, :SIZE] - SIZE // 2))
    size, flux = rng.uniform(2, 15, (IMAGES, 1, 1)), 10 ** rng.uniform(-12, -10, (IMAGES, 1, 1))
    images = flux * np.exp(-radius / size) + rng.normal(0, 7.8e-13, (IMAGES, SIZE, SIZE))
    return images.astype(np.float32)[:, None]


def main() -> None:
    """Measure and print."""
    images = sky()
    interval = ZScaleInterval()

    def ours() -> np.ndarray:
        return np.concatenate([zscale(images[first : first + CHUNK]) for first in range(0, IMAGES, CHUNK)])

    def astropys() -> np.ndarray:
        return np.stack([interval(image) for image in images])

    furthest = np.abs(ours() - astropys()).max()
    pairs = [(seconds(ours), seconds(astropys)) for _ in range(REPEATS)]
    batched, single = (statistics.median(times) / IMAGES * 1e6 for times in zip(*pairs, strict=True))
    ratio = statistics.median(slow / fast for fast, slow in pairs)
    show(
        f"ZScale of {IMAGES} Space cutouts, {REPEATS} alternate repeats; held: 10 times astropy's speed",
        ["µs an image, batched", "µs an image, astropy", "ratio", "largest difference"],
        [[f"{batched:.0f}", f"{single:.0f}", f"{ratio:.1f}", f"{furthest:.1e}"]],
    )


if __name__ == "__main__":
    main()
