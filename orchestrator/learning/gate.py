"""What a model has to fulfil to take the champion's place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator

from orchestrator.errors import one_of
from orchestrator.learning.bootstrap import LEVEL
from orchestrator.learning.metrics import METRICS, sign

FEWEST = 10
"""Lenses, and others, that a comparison takes at least."""

MARGINS = {"auc": 0.01, "tpr": 0.05, "fpr": 0.05, "tpr0": 0.2, "tpr10": 0.1, "accuracy": 0.02}
"""Metric → how much worse counts as no worse. That of TPR0 is wide, and often not wide enough: it hangs on one object,
the highest non-lens, however large the set is."""


class Gate(BaseModel):
    """The `[gate]` of a study's file, or `gate.toml`.

    Attributes:
        maximise: the metric that has to be better beyond noise.
        not_worse: metrics that must not be worse by more than their margin.
        margins: metric → margin, where it is not that of `MARGINS`.
        times_slower: than the champion, at most, on the same device.
        seconds_per_image: at most, from file to score, as its row has it.
        logit_difference: between the exported model and the trained network, at most, relative above 1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    maximise: str = "auc"
    not_worse: list[str] = ["tpr10"]
    margins: dict[str, Annotated[float, Field(gt=0, lt=1)]] = {}
    times_slower: float = Field(50.0, gt=0)
    seconds_per_image: float | None = Field(None, gt=0)
    logit_difference: float = Field(1e-4, gt=0)

    @field_validator("maximise", "not_worse", "margins")
    @classmethod
    def _known(cls, value: str | list[str] | dict[str, float]) -> str | list[str] | dict[str, float]:
        for name in [value] if isinstance(value, str) else value:
            if name not in METRICS:
                raise ValueError(one_of("metric", name, tuple(METRICS)))
        return value


@dataclass(frozen=True)
class Check:
    """One condition of the gate, whether it is fulfilled, and what was found."""

    what: str
    passed: bool
    told: str


def metric_checks(gate: Gate, intervals: Mapping[str, tuple[float, float]]) -> Iterator[Check]:
    """Decide by the intervals of the paired differences, the candidate's metrics less the champion's.

    TPR0 and TPR10 jump by several per cent with a single object, so that a higher value says nothing by itself. Of
    equal models one in forty passes as better: the interval leaves out zero on either side for one in twenty. What is
    not to be worse passes where the whole interval is above minus the margin, so that one in forty passes of those
    worse by the margin; where the interval reaches on both sides of it, the objects are too few to tell.

    Args:
        gate: the conditions.
        intervals: metric → lower and upper limit; one that is missing or NaN passes nothing.
    """
    for name in dict.fromkeys((gate.maximise, *gate.not_worse)):
        limits = intervals.get(name, (np.nan, np.nan))
        low, high = limits if sign(name) > 0 else (-limits[1], -limits[0])
        told = f"candidate less champion {limits[0]:+.4f} to {limits[1]:+.4f} ({LEVEL:.0%} interval)"
        if not low <= high:
            told = "too few objects to tell"
        if name == gate.maximise:
            yield Check(f"{name} better beyond noise", low > 0, told)
            continue
        margin = (MARGINS | gate.margins)[name]
        if low <= -margin <= high:
            told += ", too few objects to tell"
        yield Check(f"{name} not worse by {margin:g} or more", low > -margin, told)
