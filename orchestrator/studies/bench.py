"""What the trainings of one study share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from orchestrator.data.cutouts import Cutouts
from orchestrator.data.splits import Split
from orchestrator.learning.recipe import Recipe


@dataclass(frozen=True)
class Bench:
    """What the trainings of one study share.

    Attributes:
        cutouts: normalisation → the set so normalised, trained and validated on, and tested on unless there is `test`.
        test: likewise a set of its own to test on, or None.
        device: where to compute.
        experiment: identifier of the MLflow experiment.
        study: name of the study.
        gpus: how many train one network together; `device` is then the first of them.
    """

    cutouts: Mapping[str, Cutouts]
    test: Mapping[str, Cutouts] | None
    device: torch.device
    experiment: str
    study: str
    gpus: int = 1

    @property
    def data_digest(self) -> str:
        """Of the set that is trained on; however it is normalised, it is the same."""
        return next(iter(self.cutouts.values())).digest

    @property
    def test_digest(self) -> str | None:
        """Of the set of its own to test on, or None."""
        return next(iter(self.test.values())).digest if self.test else None

    def tested(self, recipe: Recipe) -> Cutouts:
        """The set that a training is tested on; the very one it is trained on where there is no other."""
        return (self.test or self.cutouts)[recipe.normalisation]

    def tested_rows(self, recipe: Recipe, parts: Split) -> NDArray[np.int64]:
        """Which of its objects: the test part, or all with a label of a set of its own."""
        tested = self.tested(recipe)
        return parts.test if self.test is None else np.flatnonzero(tested.labels >= 0)
