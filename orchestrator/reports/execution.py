"""Execution time of each network, as LEXACTUM's section 3 defines it: averaged over epoch counts, without outliers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from orchestrator.learning.timing import without_outliers
from orchestrator.reports.results import Row


@dataclass(frozen=True)
class Execution:
    """Times of one network on one device.

    Attributes:
        model: the network.
        device: which did the work.
        batch_size: cutouts at once.
        end_to_end: seconds per image from the file to the score.
        alone: seconds per image of the network alone.
        cold: seconds from the recorded model to its first score.
        rows: how many rows were averaged.
        outliers: how many more were left out of `end_to_end`.
    """

    model: str
    device: str
    batch_size: str
    end_to_end: float
    alone: float
    cold: float
    rows: int
    outliers: int


def executions(rows: Iterable[Row]) -> list[Execution]:
    """Average the rows of each network, for each device and batch size."""
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        if "seconds_per_image" in row.metrics:
            how = [row.settings.get(f"timing.{key}", "unknown") for key in ("device", "batch_size")]
            groups.setdefault((row.model, how[0], how[1]), []).append(row)
    found = []
    for (model, device, batch_size), group in sorted(groups.items()):
        whole, alone, cold = (
            np.array([row.metrics[name] for row in group if name in row.metrics])
            for name in ("seconds_per_image", "network_seconds_per_image", "cold_start_seconds")
        )
        kept = without_outliers(whole)
        means = (float(each.mean()) for each in (kept, without_outliers(alone), without_outliers(cold)))
        end_to_end, network, start = means
        left_out = len(whole) - len(kept)
        found.append(Execution(model, device, batch_size, end_to_end, network, start, len(kept), left_out))
    return found
