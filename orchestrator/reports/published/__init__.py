"""What was published on the two sets, to be held beside our own results; never to be mixed with them.

lexactum.csv     Magro et al. 2021, MNRAS 505, 6155, tables 1 and 2: each network at each epoch count
challenge.csv    Metcalf et al. 2019, A&A 625, A119, tables 3 and 4: the entries of the challenge
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

METRICS = ("auc", "tpr", "fpr", "tpr0", "tpr10", "seconds_per_image")

SOURCES = ("paper", "challenge")

CAVEATS = {
    "paper": (
        "paper: Magro et al. 2021, trained on 19 % and tested on 80 % of the challenge's test release;"
        " its TPR0 and TPR10 walked 1,001 thresholds, where saturated scores collapse to 0"
    ),
    "challenge": (
        "challenge: for each metric the best entry of Metcalf et al. 2019, trained on the official training set"
        " and tested on the official test set; thresholds walked in 100 steps"
    ),
}
"""Source → what keeps its numbers from being compared with others as they stand."""


@dataclass(frozen=True)
class Published:
    """Numbers of one source for one set: of a network at an epoch count, or, under None, of the best."""

    source: str
    values: dict[tuple[str, int | None] | None, dict[str, float]]

    def beside(self, model: str, epochs: int | None) -> dict[str, float]:
        """Metric → value for this row of a table; empty where nothing was published."""
        return self.values.get((model, epochs), self.values.get(None, {}))


def read(source: str, imaging: str) -> Published:
    """Read the numbers of ``paper`` (by network and epoch count) or ``challenge`` (the best, whatever the network)."""
    values: dict[tuple[str, int | None] | None, dict[str, float]] = {}
    if source == "paper":
        for row in _rows("lexactum.csv", imaging):
            values[row["architecture"], int(row["epochs"])] = {name: float(row[name]) for name in METRICS}
    else:
        rows = _rows("challenge.csv", imaging)
        values[None] = {name: max(float(row[name]) for row in rows) for name in ("auc", "tpr0", "tpr10")}
    return Published(source, values)


def _rows(name: str, imaging: str) -> list[dict[str, str]]:
    with (Path(__file__).parent / name).open(newline="") as file:
        return [row for row in csv.DictReader(file) if row["set"] == imaging]
