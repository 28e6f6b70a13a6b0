"""How many objects a second one core simulates and writes, without the start of a process."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

from _machine import seconds, show

from orchestrator.data.challenge import SETS
from orchestrator.data.simulation import simulate

COUNT, REPEATS = 500, 5


def rate(name: str) -> list[float]:
    """Objects a second, in each repeat but the first, which loads what is needed."""
    rates = []
    for repeat in range(REPEATS + 1):
        with tempfile.TemporaryDirectory() as folder:
            made = simulate(Path(folder) / "set", SETS[name], COUNT, repeat, workers=1)
            rates.append(COUNT / seconds(lambda made=made: list(made)))  # type: ignore[misc]
    return rates[1:]


def main() -> None:
    """Measure both sets."""
    rows = []
    for name in SETS:
        rates = rate(name)
        rows.append([name, f"{statistics.median(rates):.0f}", f"{min(rates):.0f} to {max(rates):.0f}"])
    show(f"Simulation, {COUNT} objects on one core, {REPEATS} repeats", ["set", "objects/s, median", "range"], rows)


if __name__ == "__main__":
    main()
