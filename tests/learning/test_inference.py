"""Scores: the same logits as the network itself, whatever the batch, and the network as it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import architectures
from orchestrator.learning.inference import evaluating, score

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """With dropout and batch norm, in training."""
    torch.manual_seed(0)
    return architectures.create("lastro_epfl", bands=1, size=69).train()


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(11, 1, 69, 69)).astype(np.float32)


def one_by_one(network: nn.Module, pixels: np.ndarray) -> np.ndarray:
    with torch.no_grad(), evaluating(network):
        return np.array([network(torch.from_numpy(each[None])).item() for each in pixels])


def test_scores_are_the_logits_that_each_image_gets_alone(network: nn.Module, pixels: np.ndarray) -> None:
    logits = score(network, pixels, CPU, batch_size=4)
    assert (logits.dtype, logits.shape) == (np.float64, (11,))
    np.testing.assert_allclose(logits, one_by_one(network, pixels), atol=1e-6)
    assert len(set(logits)) == 11


def test_company_does_not_change_a_score(network: nn.Module, pixels: np.ndarray) -> None:
    others = np.concatenate([pixels[:4], pixels[:4] * 100])
    swapped = np.concatenate([pixels[:4], pixels[4:8]])
    np.testing.assert_array_equal(score(network, others, CPU)[:4], score(network, swapped, CPU)[:4])


def test_only_the_rows_asked_for_are_scored_in_their_order(
    network: nn.Module, pixels: np.ndarray, tmp_path: Path
) -> None:
    np.save(tmp_path / "pixels.npy", pixels)
    mapped = np.load(tmp_path / "pixels.npy", mmap_mode="r")
    rows = np.array([7, 2, 2, 9])
    np.testing.assert_allclose(score(network, mapped, CPU, rows=rows), one_by_one(network, pixels)[rows], atol=1e-6)
    assert score(network, mapped, CPU, rows=rows[:0]).shape == (0,)


def test_a_network_in_training_stays_in_training_and_as_it_was(network: nn.Module, pixels: np.ndarray) -> None:
    before = {key: value.clone() for key, value in network.state_dict().items()}
    score(network, pixels, CPU)
    assert all(module.training for module in network.modules())
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    with pytest.raises(RuntimeError):  # images of the wrong size
        score(network, pixels[..., :9], CPU)
    assert network.training


def test_a_network_that_evaluates_goes_on_evaluating(pixels: np.ndarray) -> None:
    network = architectures.create("lens_flow", bands=1, size=69).eval()
    score(network, pixels, CPU)
    assert not any(module.training for module in network.modules())


@pytest.mark.slow
def test_an_exported_network_scores_as_the_one_it_was(network: nn.Module, pixels: np.ndarray, tmp_path: Path) -> None:
    with evaluating(network):
        batch = torch.export.Dim("batch", min=1, max=65_536)
        program = torch.export.export(network, (torch.zeros(2, 1, 69, 69),), dynamic_shapes=({0: batch},))
    torch.export.save(program, tmp_path / "network.pt2")
    loaded = torch.export.load(tmp_path / "network.pt2").module()
    for size in (1, 4, 64):
        np.testing.assert_array_equal(
            score(loaded, pixels, CPU, batch_size=size), score(network, pixels, CPU, batch_size=size)
        )
