"""Which trainings go on: the rule on curves whose answer is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from orchestrator.reports.results import Curve
from orchestrator.studies.extension import Decision, decide, trend
from orchestrator.studies.study import Extension

COUNTS = [5, 10, 25, 50, 100, 250]
EPOCHS = np.arange(1, 251)


def curve(values: np.ndarray, noise: float = 0.002, seed: int = 0) -> Curve:
    noisy = values + np.random.default_rng(seed).normal(0, noise, len(values))
    return list(zip(EPOCHS.tolist(), noisy.tolist(), strict=True))


def judged(
    auc: np.ndarray,
    loss: np.ndarray,
    *,
    gap: float = 0.02,
    best: float | None = None,
    maximise: str = "auc",
    **rule: Any,
) -> Decision:
    curves = {
        f"val_{maximise}": curve(auc),
        "val_loss": curve(loss, seed=1),
        "accuracy": curve(np.full(250, 0.9)),
        "val_accuracy": curve(np.full(250, 0.9 - gap), seed=2),
    }
    last = curves[f"val_{maximise}"][-1][1]
    return decide(curves, COUNTS, 500, Extension(to=[500, 1000], **rule), maximise, last if best is None else best)


RISING = 0.85 + 0.01 * np.log(EPOCHS)
FLAT = np.full(250, 0.9)
FALLING = 0.5 - 0.03 * np.log(EPOCHS)


def test_a_network_that_rises_and_whose_loss_falls_goes_on() -> None:
    decision = judged(RISING, FALLING)
    assert decision.extend
    assert decision.figures["gain"] == pytest.approx(0.01 * np.log(2), rel=0.1)
    assert decision.figures["noise"] == pytest.approx(0.002, rel=0.2)
    assert decision.figures["loss_rise"] == pytest.approx(-0.03 * np.log(2), rel=0.1)
    assert decision.tags(500)["extension"].startswith("extended to 500: val_auc is about to gain 0.0")
    assert float(decision.tags(500)["extension.gap"]) == pytest.approx(0.02, abs=1e-3)


@pytest.mark.parametrize(
    ("auc", "loss", "settings", "reason"),
    [
        (FLAT, FALLING, {}, "within its noise"),
        (RISING[::-1], FALLING, {}, "within its noise"),
        (RISING, FALLING[::-1], {}, "val_loss is rising"),
        (RISING, FALLING, {"gap": 0.15}, "accuracy is 0.15"),
        (RISING, FALLING, {"best": 0.99, "within": 0.02}, "behind the best"),
    ],
)
def test_what_does_not_rise_or_overfits_or_is_far_behind_does_not_go_on(
    auc: np.ndarray, loss: np.ndarray, settings: dict[str, float], reason: str
) -> None:
    decision = judged(auc, loss, **settings)
    assert not decision.extend
    assert reason in decision.reason


def test_the_study_sets_the_limits() -> None:
    assert not judged(RISING, FALLING, gain=5.0).extend
    assert judged(FLAT, FALLING, gain=0.0, rise=9.0).extend or judged(FLAT, FALLING, gain=0.0).figures["gain"] < 0
    assert judged(RISING, FALLING[::-1], rise=50.0).extend
    assert decide({}, COUNTS, 500, Extension(to=[500]), "auc", 1.0).reason.startswith("fewer than 4 epochs")


def test_of_a_metric_that_is_to_fall_a_fall_is_a_gain() -> None:
    assert judged(1 - RISING, FALLING, maximise="fpr").extend
    assert not judged(RISING, FALLING, maximise="fpr").extend


def test_only_the_last_counts_are_looked_at() -> None:
    late = np.where(EPOCHS < 100, 0.7, 0.9)  # rose before, flat since
    assert not judged(late, FALLING, rungs=2).extend
    assert judged(late, FALLING, rungs=6, gain=0.3).extend


def test_noise_alone_rarely_earns_more_epochs() -> None:
    earned = 0
    for seed in range(200):
        flat = [curve(FLAT, 0.01, 3 * seed + n) for n in range(2)]
        curves = {"val_auc": flat[0], "val_loss": flat[1], "accuracy": flat[0], "val_accuracy": flat[0]}
        earned += decide(curves, COUNTS, 500, Extension(to=[500]), "auc", 0.9).extend
    assert earned == 0


def test_a_trend_is_the_fitted_line_gone_on() -> None:
    found = trend([(epoch, 2 + 3 * float(np.log(epoch))) for epoch in (1, 2, 4, 8)], 16)
    assert found.rise == pytest.approx(3 * np.log(2))
    assert found.noise == pytest.approx(0, abs=1e-9)
