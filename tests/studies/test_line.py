"""What waits in line is scored, each for itself; what fails fails alone."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event
from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor, fx

from orchestrator.data.challenge import SPACE
from orchestrator.data.uploads import Sent
from orchestrator.errors import DataError
from orchestrator.learning.finder import Scores, uncalibrated
from orchestrator.studies.line import Line
from orchestrator.tracking.models import Model

CPU = torch.device("cpu")


def line(finder: Callable[[Tensor], Scores]) -> Line:
    return Line(
        Model(cast("fx.GraphModule", finder), SPACE, "none/1", "", {}, cast("torch.export.ExportedProgram", None)), CPU
    )


def cutouts(*values: float) -> list[Sent]:
    """Of such a mean; not of one value, which would be bad."""
    shape = np.zeros((1, 101, 101), np.float32)
    shape[0, 40, 40], shape[0, 60, 60] = 0.5, -0.5
    return [Sent(str(value), shape + np.float32(value)) for value in values]


def test_what_waits_is_scored_together_and_each_gets_its_own() -> None:
    counts: list[int] = []
    held = Event()

    def mean(flux: Tensor) -> Scores:
        held.wait(10)
        counts.append(len(flux))
        return uncalibrated(flux.mean(dim=(1, 2, 3)))

    waiting = line(mean)
    futures = [waiting.add(lambda value=value: cutouts(value, -value)) for value in range(100)]
    held.set()
    waiting.close()
    for value, future in enumerate(futures):
        assert [(each.id, each.logit) for each in future.result(0)] == [(str(value), value), (str(-value), -value)]
    assert sum(counts) == 200
    assert len(counts) < 10


def test_what_cannot_be_read_fails_alone() -> None:
    def unreadable() -> list[Sent]:
        raise DataError("not cutouts")

    waiting = line(lambda flux: uncalibrated(flux.mean(dim=(1, 2, 3))))
    before, bad, after = waiting.add(lambda: cutouts(1)), waiting.add(unreadable), waiting.add(lambda: cutouts(2))
    cancelled = waiting.add(lambda: cutouts(3))
    cancelled.cancel()
    last = waiting.add(lambda: [Sent("none", bad="none: empty"), *cutouts(4)])
    waiting.close()
    assert [before.result(0)[0].logit, after.result(0)[0].logit] == [1, 2]
    with pytest.raises(DataError, match="not cutouts"):
        bad.result(0)
    assert [(each.bad, each.logit) for each in last.result(0)] == [("none: empty", None), (None, 4)]


def test_what_says_nothing_of_the_sky_is_bad_and_what_is_odd_is_flagged() -> None:
    waiting = line(lambda flux: uncalibrated(flux.mean(dim=(1, 2, 3))))
    blank = Sent("blank", np.zeros((1, 101, 101), np.float32))
    found = waiting.add(lambda: [*cutouts(1), blank, *cutouts(2)]).result(10)
    waiting.close()
    assert [(each.logit, each.flags) for each in found] == [(1, ["edge"]), (None, ["constant"]), (2, ["edge"])]
    assert found[1].bad == "blank: one value in all of VIS"


def test_a_network_that_fails_once_goes_on() -> None:
    def fragile(flux: Tensor) -> Scores:
        if len(flux) == 3:
            raise RuntimeError("out of memory")
        return uncalibrated(flux.mean(dim=(1, 2, 3)))

    waiting = line(fragile)
    failed = waiting.add(lambda: cutouts(1, 2, 3))
    with pytest.raises(RuntimeError, match="out of memory"):
        failed.result(10)
    assert waiting.add(lambda: cutouts(5)).result(10)[0].logit == 5
    waiting.close()


def test_pixels_without_a_measurement_are_counted() -> None:
    (sent,) = cutouts(1)
    assert sent.flux is not None
    sent.flux[0, 0, :3] = [100, np.nan, np.inf]
    waiting = line(lambda flux: uncalibrated(torch.zeros(len(flux))))
    assert waiting.add(lambda: [sent]).result(10)[0].masked == 3
    waiting.close()
