"""Ensembles, against what numpy, scipy and scikit-learn make of their members' logits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import rankdata
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

import architectures
from orchestrator.errors import RecipeError
from orchestrator.learning import calibration, pt2
from orchestrator.learning import finder as finders
from orchestrator.learning.ensemble import Orientations, Rank, combine, stacked
from orchestrator.learning.finder import Finder, find

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def flux() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 1, (65, 1, 101, 101)).astype(np.float32)


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    return np.random.default_rng(4).integers(0, 2, 65).astype(np.int8)


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> list[nn.Module]:
    """Three finders as they come from the store, one of them calibrated."""
    folder, made = tmp_path_factory.mktemp("members"), []
    for number, normalisation in enumerate(("none", "none", "asinh")):
        torch.manual_seed(number)
        finder: nn.Module = Finder(architectures.create("lens_flow", bands=1, hidden=8), normalisation)
        if number == 1:
            finder = calibration.Calibrated(finder, calibration.Isotonic(np.array([-1.0, 1.0]), np.array([0.1, 0.9])))
        made.append(exported(finder, folder / f"{number}.pt2"))
    return made


@pytest.fixture(scope="module")
def logits(members: list[nn.Module], flux: np.ndarray) -> np.ndarray:
    return np.stack([find(member, flux, CPU)[0] for member in members])


def exported(finder: nn.Module, path: Path) -> nn.Module:
    finders.export(finder, 1, 101, path)
    return pt2.load(path, CPU).module()


@pytest.mark.slow
def test_the_mean_and_one_more_calibration_around_it_are_one_graph(
    members: list[nn.Module], flux: np.ndarray, labels: np.ndarray, logits: np.ndarray, tmp_path: Path
) -> None:
    finder = exported(combine(members, "mean", labels, logits), tmp_path / "mean.pt2")
    found, probabilities = find(finder, flux, CPU)
    np.testing.assert_allclose(found, logits.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(probabilities, 1 / (1 + np.exp(-logits.mean(axis=0))), atol=1e-6)
    np.testing.assert_allclose(find(finder, flux[7:8], CPU)[0], logits.mean(axis=0)[7:8], atol=1e-6)
    around = calibration.Calibrated(finder, calibration.Temperature(2.0, 0.0))
    assert find(exported(around, tmp_path / "around.pt2"), flux, CPU)[0].tolist() == found.tolist()


@pytest.mark.slow
def test_stacking_is_scikit_learns_regression_of_standardised_logits(
    members: list[nn.Module], flux: np.ndarray, labels: np.ndarray, logits: np.ndarray, tmp_path: Path
) -> None:
    oracle = make_pipeline(StandardScaler(), LogisticRegression(tol=1e-8, max_iter=10_000)).fit(logits.T, labels)
    finder = exported(combine(members, "stacking", labels, logits), tmp_path / "stacking.pt2")
    np.testing.assert_allclose(find(finder, flux, CPU)[0], oracle.decision_function(logits.T), atol=1e-4)


@pytest.mark.slow
def test_mean_ranks_order_as_scipys_and_lie_on_the_scale_of_logits(
    members: list[nn.Module], flux: np.ndarray, logits: np.ndarray, tmp_path: Path
) -> None:
    mean = np.mean([(rankdata(each) - 0.5) / len(each) for each in logits], axis=0)
    labels = (np.random.default_rng(1).random(65) < mean).astype(np.int8)
    finder = exported(combine(members, "rank", labels, logits), tmp_path / "rank.pt2")
    found, probabilities = find(finder, flux, CPU)
    (slope,), offset = stacked(labels, mean[None])
    np.testing.assert_allclose(found, slope * mean + offset, atol=1e-5)
    assert probabilities.mean() == pytest.approx(labels.mean(), abs=1e-4), "as many lenses as there are"
    assert find(finder, flux[3:4], CPU)[0] == pytest.approx(found[3:4], abs=1e-4)  # ranks enlarge rounding


def test_ranks_rise_between_beside_and_beyond_the_logits_they_are_of() -> None:
    rank = Rank(np.array([0.0, 1.0, 1.0, 3.0]))
    at = torch.tensor([-5.0, 0.0, 0.5, 1.0, 2.0, 3.0, 3.1, 9.0], dtype=torch.float64)
    found = rank(at).numpy()
    np.testing.assert_allclose(found[[1, 3, 5]], [0.125, 0.5, 0.875])
    np.testing.assert_allclose(found[[2, 4]], [(0.125 + 0.5) / 2, (0.5 + 0.875) / 2])
    assert (np.diff(found) > 0).all(), "the highest scores are never tied"
    with pytest.raises(RecipeError, match="no ranks"):
        Rank(np.zeros(4))


def test_members_that_rank_lenses_low_are_refused(members: list[nn.Module], logits: np.ndarray) -> None:
    upside_down = (logits.mean(axis=0) < np.median(logits.mean(axis=0))).astype(np.int8)
    with pytest.raises(RecipeError, match="do not rank higher"):
        combine(members, "rank", upside_down, logits)


@pytest.mark.slow
def test_orientations_are_the_mean_over_cutouts_turned_and_mirrored_by_numpy(
    members: list[nn.Module], flux: np.ndarray, tmp_path: Path
) -> None:
    turned = [np.rot90(each, turns, (2, 3)) for each in (flux, flux[..., ::-1]) for turns in range(4)]
    expected = np.mean([find(members[0], np.ascontiguousarray(each), CPU)[0] for each in turned], axis=0)
    finder = exported(Orientations(members[0]), tmp_path / "turned.pt2")
    np.testing.assert_allclose(find(finder, flux, CPU)[0], expected, atol=1e-6)
    np.testing.assert_allclose(find(finder, flux[5:6], CPU)[0], expected[5:6], atol=1e-6)
    again = find(finder, np.ascontiguousarray(np.rot90(flux[:3], 1, (2, 3))), CPU)[0]
    np.testing.assert_allclose(again, expected[:3], atol=1e-6)
