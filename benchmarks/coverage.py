"""How many of the intervals of the metrics hold the right value, in % of simulated sets.

    .venv/bin/python benchmarks/coverage.py [sets]

Right is the mean over other sets of the same size. For pairs, both networks share 70 % of the variance of what is
hard; the second separates the classes by 0.3 more, and right is the mean difference.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

import numpy as np
from _machine import seconds, show
from numpy.typing import NDArray

from orchestrator.learning.bootstrap import intervals, paired_intervals
from orchestrator.learning.metrics import METRICS, measure, roc

Floats = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Floats]

LAWS: dict[str, tuple[Draw, Draw]] = {
    "normal, 1.5 apart": (lambda rng, n: rng.normal(size=n), lambda rng, n: rng.normal(1.5, 1, n)),
    "normal, 3 apart": (lambda rng, n: rng.normal(size=n), lambda rng, n: rng.normal(3, 1, n)),
    "normal, 6 apart": (lambda rng, n: rng.normal(size=n), lambda rng, n: rng.normal(6, 1, n)),
    "normal, rounded to 0.5": (
        lambda rng, n: np.round(2 * rng.normal(size=n)) / 2,
        lambda rng, n: np.round(2 * rng.normal(2, 1, n)) / 2,
    ),
    "wide lenses": (lambda rng, n: rng.normal(size=n), lambda rng, n: rng.normal(1.5, 2, n)),
    "wide non-lenses": (lambda rng, n: 2 * rng.normal(size=n), lambda rng, n: rng.normal(3, 1, n)),
    "Student t, 3": (lambda rng, n: rng.standard_t(3, n), lambda rng, n: 2 + rng.standard_t(3, n)),
    "Cauchy": (lambda rng, n: rng.standard_cauchy(n), lambda rng, n: 2 + rng.standard_cauchy(n)),
    "1 % of non-lenses like lenses": (
        lambda rng, n: rng.normal(np.where(rng.random(n) < 0.01, 3, 0)),
        lambda rng, n: rng.normal(3, 1, n),
    ),
}
"""Of the scores of non-lenses and of lenses."""

SIZES = ((50, 50), (300, 300), (2000, 200), (200, 2000))
"""Non-lenses and lenses."""

LARGE = (40_000, 40_000)


def single(law: str, others: int, lenses: int, sets: int) -> list[str]:
    """A line of the table."""
    rng, labels = np.random.default_rng(1), np.repeat([0, 1], [others, lenses])

    def draw() -> Floats:
        return np.concatenate([each(rng, n) for each, n in zip(LAWS[law], (others, lenses), strict=True)])

    fresh = max(500, min(1500, 2_000_000 // (others + lenses)))
    right = _means([measure(labels, draw()) for _ in range(fresh)])
    return _line(right, (intervals(roc(labels, draw())) for _ in range(sets)))


def paired(apart: float, others: int, lenses: int, sets: int) -> list[str]:
    """A line of the table of differences."""
    rng, labels = np.random.default_rng(1), np.repeat([0, 1], [others, lenses])

    def draw() -> list[Floats]:
        shared = np.sqrt(0.7) * rng.normal(size=len(labels))
        own = np.sqrt(0.3) * rng.normal(size=(2, len(labels)))
        return [far * (labels - 0.5) + shared + each for far, each in zip((apart, apart + 0.3), own, strict=True)]

    fresh = max(500, min(1500, 1_000_000 // (others + lenses)))
    both = [[measure(labels, each) for each in draw()] for _ in range(fresh)]
    one, other = (_means([each[number] for each in both]) for number in (0, 1))
    right = {name: other[name] - one[name] for name in METRICS}
    return _line(right, (paired_intervals(labels, *draw()) for _ in range(sets)))


def _means(found: list[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([each[name] for each in found])) for name in METRICS}


def _line(right: dict[str, float], found: Iterator[dict[str, tuple[float, float]]]) -> list[str]:
    held: dict[str, list[bool]] = {name: [] for name in METRICS}
    widths: dict[str, list[float]] = {name: [] for name in METRICS}
    for each in found:
        for name, (low, high) in each.items():
            held[name].append(low - 1e-9 <= right[name] <= high + 1e-9)
            widths[name].append(high - low)
    return [f"{100 * np.mean(held[name]):.1f} ({np.mean(widths[name]):.3f})" for name in METRICS]


def main() -> None:
    """Print the tables."""
    sets = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    header = ["scores", "non-lenses + lenses", *METRICS]
    cases = [(law, *size, sets) for law in LAWS for size in SIZES]
    cases += [(law, *LARGE, sets) for law in LAWS]
    rows = [[law, f"{others:,} + {lenses:,}", *single(law, others, lenses, n)] for law, others, lenses, n in cases]
    show(f"Intervals that hold the right value, in % of {sets} sets, and their mean width", header, rows)
    rows = [
        [f"{apart:g} apart", f"{others:,} + {lenses:,}", *paired(apart, others, lenses, sets)]
        for apart in (1.5, 3.0, 6.0)
        for others, lenses in (*SIZES, LARGE)
    ]
    show("The same of paired differences", header, rows)
    rng, labels = np.random.default_rng(0), np.repeat([0, 1], LARGE)
    one, other = (2.0 * labels + rng.normal(size=80_000) for _ in range(2))
    took = [seconds(lambda: intervals(roc(labels, one))), seconds(lambda: paired_intervals(labels, one, other))]
    show("Time of 80,000 objects", ["", "seconds"], [["one", f"{took[0]:.2f}"], ["a pair", f"{took[1]:.2f}"]])


if __name__ == "__main__":
    main()
