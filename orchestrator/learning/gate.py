"""What a model has to fulfil to take the champion's place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field, field_validator

from orchestrator.errors import one_of
from orchestrator.learning.bootstrap import LEVEL
from orchestrator.learning.metrics import METRICS, sign

FEWEST = 10
"""Lenses, and others, that a comparison takes at least."""


class Gate(BaseModel):
    """The `[gate]` of a study's file, or `gate.toml`.

    Attributes:
        maximise: the metric that has to be better beyond noise.
        not_worse: metrics that must not be worse beyond noise.
        times_slower: than the champion, at most, on the same device.
        seconds_per_image: at most, from file to score, as its row has it.
        logit_difference: between the exported model and the trained network, at most, relative above 1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    maximise: str = "auc"
    not_worse: list[str] = ["tpr0", "tpr10"]
    times_slower: float = Field(50.0, gt=0)
    seconds_per_image: float | None = Field(None, gt=0)
    logit_difference: float = Field(1e-4, gt=0)

    @field_validator("maximise", "not_worse")
    @classmethod
    def _known(cls, value: str | list[str]) -> str | list[str]:
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
    equal models one in forty passes: the interval leaves out zero on either side for one in twenty.
    """
    for name in dict.fromkeys((gate.maximise, *gate.not_worse)):
        ends = sorted(sign(name) * end for end in intervals[name])
        told = f"candidate less champion {intervals[name][0]:+.4f} to {intervals[name][1]:+.4f} ({LEVEL:.0%} interval)"
        if name == gate.maximise:
            yield Check(f"{name} better beyond noise", ends[0] > 0, told)
        else:
            yield Check(f"{name} not worse beyond noise", ends[1] >= 0, told)
