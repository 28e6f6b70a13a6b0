"""What the trainings of one study share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from orchestrator.data.cutouts import Cutouts
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
    """

    cutouts: Mapping[str, Cutouts]
    test: Mapping[str, Cutouts] | None
    device: torch.device
    experiment: str
    study: str

    def tested(self, recipe: Recipe) -> Cutouts:
        """The set that a training is tested on; the very one it is trained on where there is no other."""
        return (self.test or self.cutouts)[recipe.normalisation]
