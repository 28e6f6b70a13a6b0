"""Measures of probabilities, against scikit-learn and against bins filled by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom
from sklearn.metrics import brier_score_loss, log_loss

from orchestrator.learning import reliability


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


@pytest.mark.parametrize("count", [40, 120, 400])
@pytest.mark.parametrize("separation", [1.0, 2.0, 4.0])
def test_the_change_of_the_brier_score_is_in_its_interval(count: int, separation: float) -> None:
    rng = np.random.default_rng(3)

    def drawn(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        logits = separation * rng.normal(separation * (labels - 0.5))
        return labels, 1 / (1 + np.exp(-1.3 * logits)), 1 / (1 + np.exp(-0.7 * logits - 0.3))

    many = drawn(np.repeat(np.array([0, 1], np.int8), 300_000))
    one, other = (reliability.measure(many[0], each) for each in many[1:])
    missed = 0
    for _ in range(300):
        low, high = reliability.differences(*drawn(np.repeat(np.array([0, 1], np.int8), count // 2)))["brier"]
        missed += not low <= other["brier"] - one["brier"] <= high
    assert missed <= binom.ppf(0.999, 300, 0.07)


def test_the_same_probabilities_differ_in_nothing(objects: tuple[np.ndarray, np.ndarray]) -> None:
    labels, probabilities = objects
    assert reliability.differences(labels, probabilities, probabilities) == {"brier": (0, 0)}


def test_a_bar_of_the_diagram_is_exact_where_all_are_lenses() -> None:
    (only,) = reliability.bins(np.ones(10, np.int8), np.full(10, 0.99))
    assert (only.lowest, only.highest) == (pytest.approx(0.025 ** (1 / 10)), 1)
