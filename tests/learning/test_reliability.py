"""Measures of probabilities, against scikit-learn and against bins filled by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, log_loss

from orchestrator.learning import reliability
from orchestrator.learning.bootstrap import interval


@pytest.fixture
def objects() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    probabilities = np.concatenate([rng.random(300), np.arange(16) / 15])  # every edge of a bin too
    return (rng.random(316) < probabilities**2).astype(np.int8), probabilities


def test_brier_and_log_loss_are_scikit_learns(objects: tuple[np.ndarray, np.ndarray]) -> None:
    labels, probabilities = objects
    probabilities = probabilities.clip(1e-6, 1 - 1e-6)
    found = reliability.measure(labels, probabilities)
    assert found["brier"] == pytest.approx(brier_score_loss(labels, probabilities))
    assert found["log_loss"] == pytest.approx(log_loss(labels, probabilities))
    assert np.isfinite(reliability.measure(np.array([1], np.int8), np.zeros(1))["log_loss"])


def test_the_calibration_error_and_the_diagram_are_those_of_bins_filled_by_hand(
    objects: tuple[np.ndarray, np.ndarray],
) -> None:
    labels, probabilities = objects
    expected, points = 0.0, []
    for number in range(15):
        inside = [
            (y, p)
            for y, p in zip(labels.tolist(), probabilities.tolist(), strict=True)
            if number / 15 < p <= (number + 1) / 15 or (number == 0 and p == 0)
        ]
        share, mean = (sum(each[which] for each in inside) / len(inside) for which in (0, 1))
        expected += len(inside) / len(labels) * abs(share - mean)
        points.append((len(inside), mean, share))
    assert reliability.measure(labels, probabilities)["ece"] == pytest.approx(expected)
    found = [(each.objects, each.probability, each.lenses) for each in reliability.bins(labels, probabilities)]
    np.testing.assert_allclose(found, points)


def test_differences_are_of_the_same_objects_drawn_anew(objects: tuple[np.ndarray, np.ndarray]) -> None:
    labels, probabilities = objects
    drawn = reliability.differences(labels, probabilities, probabilities**2, resamples=400)
    one, other = reliability.measure(labels, probabilities), reliability.measure(labels, probabilities**2)
    for name in ("brier", "log_loss"):
        low, high = interval(drawn[name])
        assert low < other[name] - one[name] < high < 0
    # The spread of a mean over drawn objects, class by class.
    change = (probabilities**2 - labels) ** 2 - (probabilities - labels) ** 2
    variance = sum(change[labels == label].var() * (labels == label).sum() for label in (0, 1)) / len(labels) ** 2
    assert drawn["brier"].std() == pytest.approx(np.sqrt(variance), rel=0.15)
    same = reliability.differences(labels, probabilities, probabilities, resamples=5)
    assert all(not each.any() for each in same.values())
