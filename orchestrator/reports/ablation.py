"""What augmentation does: trainings that differ in it alone, beside each other, as in LEXACTUM's section 3.3."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.reports.results import Curve, Trial

WIDTH = 5
"""Epochs that are averaged to see where validation stops improving."""


@dataclass(frozen=True)
class Accuracy:
    """How a training went.

    Attributes:
        model: the network.
        augment: ``all``, ``none``, or the transformations.
        seed: of the training.
        data: digests of what it was trained and tested on; see `Trial.data`.
        training: accuracy by epoch on the training images, as they were seen in passing.
        validation: accuracy by epoch.
    """

    model: str
    augment: str
    seed: str
    data: tuple[str, str]
    training: Curve
    validation: Curve

    @property
    def last(self) -> tuple[float, float]:
        """Accuracy in training and in validation, means of the last epochs (`WIDTH`)."""
        return _tail(self.training), _tail(self.validation)

    @property
    def gap(self) -> float:
        """By how much training is ahead of validation in the end."""
        return self.last[0] - self.last[1]

    @property
    def stops_improving(self) -> int:
        """The epoch from which on validation gains no more than its noise; see `stops_improving`."""
        return stops_improving(self.validation)


def pairs(trials: Sequence[Trial]) -> list[Accuracy]:
    """Trainings with a partner of another augmentation and else the same settings and data, partners together."""
    groups: dict[tuple[object, ...], list[Trial]] = {}
    for trial in trials:
        if trial.extends is None:
            rest = {key: each for key, each in trial.settings.items() if key not in ("augment", "digest")}
            groups.setdefault((trial.data, *sorted(rest.items())), []).append(trial)
    return [
        Accuracy(
            trial.model,
            trial.settings["augment"],
            trial.settings["seed"],
            trial.data,
            trial.curves["accuracy"],
            trial.curves["val_accuracy"],
        )
        for group in groups.values()
        if len({trial.settings["augment"] for trial in group}) > 1
        for trial in sorted(group, key=lambda each: each.settings["augment"])
    ]


def stops_improving(curve: Curve) -> int:
    """The first epoch whose running mean is within the noise of the highest running mean.

    The mean is over `WIDTH` epochs about each, fewer at both ends; the noise is the standard deviation of the epochs
    about it.
    """
    epochs, values = [epoch for epoch, _ in curve], np.array([value for _, value in curve])
    half = WIDTH // 2
    means = np.array([values[max(0, n - half) : n + half + 1].mean() for n in range(len(values))])
    noise = float(np.std(values - means))
    return epochs[int(np.argmax(means >= means.max() - noise))]


def _tail(curve: Curve) -> float:
    return float(np.mean([value for _, value in curve[-WIDTH:]]))
