"""Trainings with and without augmentation beside each other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from orchestrator.reports.ablation import pairs, stops_improving
from orchestrator.reports.results import Trial, whole


def trial(augment: str, accuracy: float, val_accuracy: float, **settings: str) -> Trial:
    curves = {
        "accuracy": [(epoch, accuracy) for epoch in range(1, 21)],
        "val_accuracy": [(epoch, val_accuracy) for epoch in range(1, 21)],
    }
    about = {"architecture": "lens_flow", "augment": augment, "seed": "1", "digest": augment, **settings}
    return Trial(augment, None, about, {}, curves)


def test_only_trainings_that_differ_in_augmentation_alone_are_paired() -> None:
    found = pairs([
        trial("none", 0.99, 0.8),
        trial("all", 0.9, 0.88),
        trial("all", 0.9, 0.88, seed="2"),
        trial("none", 0.9, 0.88, architecture="wsi_net"),
    ])  # fmt: skip
    assert [(each.augment, each.seed) for each in found] == [("all", "1"), ("none", "1")]
    assert [each.gap for each in found] == pytest.approx([0.02, 0.19])


@pytest.mark.parametrize("digest", ["dataset.digest", "test_dataset.digest"])
def test_trainings_on_other_data_are_not_paired(digest: str) -> None:
    about = {"dataset.digest": "one", "test_dataset": "there", "test_dataset.digest": "its"}
    first, second = (replace(trial(each, 0.9, 0.8), tags=about) for each in ("all", "none"))
    assert len(pairs([first, second])) == 2
    assert pairs([first, replace(second, tags={**about, digest: "another"})]) == []


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_validation_stops_improving_where_its_curve_flattens(noise: float) -> None:
    epochs = np.arange(1, 101)
    values = 0.85 - 0.35 * np.exp(-epochs / 5) + np.random.default_rng(0).normal(0, noise, 100)
    found = stops_improving(list(zip(epochs.tolist(), values.tolist(), strict=True)))
    assert (5 if noise else 20) <= found <= (40 if noise else 100)


def test_a_curve_that_still_rises_stops_at_its_end_and_one_that_falls_at_its_beginning() -> None:
    rising = [(epoch, epoch / 100) for epoch in range(1, 101)]
    assert stops_improving(rising) >= 97
    assert stops_improving([(epoch, -value) for epoch, value in rising]) <= 3


def test_what_was_extended_is_one_training_from_its_first_epoch_on() -> None:
    base, other = trial("all", 0.5, 0.5), trial("none", 0.5, 0.5)
    first = Trial("first", base.run_id, {**base.settings, "epochs": "30"}, {}, {"accuracy": [(21, 0.6)]})
    second = Trial("second", "first", {**base.settings, "epochs": "40"}, {}, {"accuracy": [(31, 0.7)]})
    joined, alone = whole([second, base, other, first])
    assert [epoch for epoch, _ in joined.curves["accuracy"]] == [*range(1, 22), 31]
    assert (joined.settings["epochs"], alone) == ("40", other)
