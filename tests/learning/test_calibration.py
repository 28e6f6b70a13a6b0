"""Calibrations: fitted as others fit them, and the same once exported."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from sklearn.isotonic import IsotonicRegression
from torch import Tensor, nn

from orchestrator.errors import RecipeError
from orchestrator.learning import calibration, pt2
from orchestrator.learning import finder as finders
from orchestrator.learning.finder import Scores, find

CPU = torch.device("cpu")


class Middle(nn.Module):
    """The central pixel as the logit."""

    def __init__(self) -> None:
        super().__init__()
        self.training = False

    def forward(self, flux: Tensor) -> Scores:
        return finders.uncalibrated(flux[:, 0, 50, 50])


def flux_of(logits: np.ndarray) -> np.ndarray:
    flux = np.zeros((len(logits), 1, 101, 101), np.float32)
    flux[:, 0, 50, 50] = logits
    return flux


@pytest.fixture(scope="module")
def objects() -> tuple[np.ndarray, np.ndarray]:
    """Labels, and logits that are three times too sure and one too high."""
    rng = np.random.default_rng(1)
    labels = (rng.random(400) < 0.6).astype(np.int8)
    logits = 3 * (rng.normal(0, 1, 400) + 2 * labels - 1) + 1
    return labels, logits.astype(np.float32).astype(np.float64)


def test_temperature_and_offset_are_those_of_the_highest_likelihood(objects: tuple[np.ndarray, np.ndarray]) -> None:
    labels, logits = objects
    lenses, others = (labels == 1).sum(), (labels == 0).sum()
    targets = np.where(labels == 1, (lenses + 1) / (lenses + 2), 1 / (others + 2))

    def loss(line: np.ndarray) -> float:
        z = line[0] * logits + line[1]
        return float((np.logaddexp(0, z) - targets * z).mean())

    slope, offset = minimize(loss, [1.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-14}).x
    found = calibration.temperature(labels, logits)
    assert found.temperature == pytest.approx(1 / slope, rel=1e-3)
    assert found.offset == pytest.approx(offset, abs=1e-3)


def test_classes_that_do_not_overlap_have_a_finite_temperature() -> None:
    labels = np.repeat([0, 1], 50).astype(np.int8)
    found = calibration.temperature(labels, np.linspace(-5.0, 5.0, 100))
    assert 0 < found.temperature < 100
    with pytest.raises(RecipeError, match="nothing to calibrate"):
        calibration.temperature(1 - labels, np.linspace(-5.0, 5.0, 100))


def test_isotonic_is_scikit_learns_everywhere_once_exported(
    objects: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    labels, logits = objects
    logits = logits.round(1).astype(np.float32).astype(np.float64)  # with ties
    surest = 1 / (len(labels) + 2)
    oracle = IsotonicRegression(y_min=surest, y_max=1 - surest, out_of_bounds="clip").fit(logits, labels)
    at = np.concatenate([np.linspace(-20, 20, 44), logits[:21]]).astype(np.float32)
    finder = calibration.Calibrated(Middle(), calibration.isotonic(labels, logits))
    finders.export(finder, 1, 101, tmp_path / "finder.pt2")
    exported = pt2.load(tmp_path / "finder.pt2", CPU).module()
    found, probabilities = find(exported, flux_of(at), CPU)
    assert found.tolist() == at.tolist()
    np.testing.assert_allclose(probabilities, oracle.predict(at.astype(np.float64)), atol=1e-6)
    alone = [find(exported, flux_of(at[n : n + 1]), CPU)[1][0] for n in (0, 30, 64)]
    np.testing.assert_allclose(alone, probabilities[[0, 30, 64]], atol=1e-7)


def test_equal_logits_cannot_be_calibrated() -> None:
    with pytest.raises(RecipeError, match="one logit"):
        calibration.isotonic(np.array([0, 1, 1], np.int8), np.ones(3))


def test_a_calibration_of_a_calibrated_finder_takes_its_place(
    objects: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    labels, logits = objects
    inner = calibration.Calibrated(Middle(), calibration.isotonic(labels, logits))
    finders.export(inner, 1, 101, tmp_path / "inner.pt2")
    finder = calibration.Calibrated(pt2.load(tmp_path / "inner.pt2", CPU).module(), calibration.Temperature(3.0, -0.5))
    finders.export(finder, 1, 101, tmp_path / "outer.pt2")
    at = np.linspace(-9, 9, 65).astype(np.float32)
    found, probabilities = find(pt2.load(tmp_path / "outer.pt2", CPU).module(), flux_of(at), CPU)
    assert found.tolist() == at.tolist()
    np.testing.assert_allclose(probabilities, 1 / (1 + np.exp(0.5 - at.astype(np.float64) / 3)), atol=1e-6)
