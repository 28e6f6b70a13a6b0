"""How far equal models differ by chance: the width of paired intervals, which a gate's margin has to exceed.

    .venv/bin/python benchmarks/margins.py

Two networks share most of what they see of an object; TPR10 is about 0.4 with 300 non-lenses.
"""

from __future__ import annotations

import numpy as np
from _machine import show

from orchestrator.learning.bootstrap import paired_intervals

PAIRS = 20
METRICS = ("auc", "tpr", "tpr0", "tpr10")


def half_widths(each: int) -> list[float]:
    """Of so many lenses and as many others, the mean over pairs, a metric each."""
    rng = np.random.default_rng(1)
    labels = np.repeat(np.array([1, 0], np.int8), each)
    found = []
    for _ in range(PAIRS):
        shared = rng.normal(size=2 * each) + 2.2 * labels
        one, other = (shared + 0.5 * rng.normal(size=2 * each) for _ in range(2))
        limits = paired_intervals(labels, one, other, halves=(0.0, 0.0))
        found.append([(limits[name][1] - limits[name][0]) / 2 for name in METRICS])
    return [float(each) for each in np.mean(found, axis=0)]


def main() -> None:
    """Print the table."""
    show(
        "Half the width of the 95 % interval of the difference of two equal networks",
        ["lenses, others", *METRICS],
        [[f"{each:,}", *(f"±{width:.3f}" for width in half_widths(each))] for each in (300, 3_000, 40_000)],
    )


if __name__ == "__main__":
    main()
