"""A finder: what is exported is what was trained, from raw flux on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import architectures
from orchestrator.data.challenge import scan
from orchestrator.data.fits import read_cutout
from orchestrator.data.normalise import NORMALISATIONS, prepare
from orchestrator.learning import calibration, pt2
from orchestrator.learning import finder as finders
from orchestrator.learning.ensemble import Orientations, combine
from orchestrator.learning.finder import Finder, find
from orchestrator.learning.inference import score

CPU = torch.device("cpu")


def assert_no_float64(program: torch.export.ExportedProgram) -> None:
    """Apple's GPUs know none: neither weights and constants, nor what any step gives, may be of it."""
    tensors = [*program.state_dict.values(), *program.constants.values()]
    for node in program.graph.nodes:
        given = node.meta.get("val")
        tensors += [each for each in (given if isinstance(given, (list, tuple)) else [given]) if torch.is_tensor(each)]
    assert len(tensors) > 10
    assert torch.float64 not in {each.dtype for each in tensors}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "bands", "normalisation"),
    [("lens_flow", 1, "zscale"), *((name, 1, "asinh") for name in architectures.names() if name != "lens_flow")],
)
def test_the_exported_finder_gives_the_logits_of_the_network(
    name: str, bands: int, normalisation: str, tiny_space: Path, tmp_path: Path
) -> None:
    gives_the_logits_of_the_network(name, bands, normalisation, tiny_space, tmp_path)


def gives_the_logits_of_the_network(
    name: str, bands: int, normalisation: str, root: Path, folder: Path
) -> torch.export.ExportedProgram:
    torch.manual_seed(1)
    network = architectures.create(name, bands=bands).train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    finders.export(Finder(network, normalisation), bands, 101, folder / "finder.pt2")
    exported = pt2.load(folder / "finder.pt2", CPU)
    assert_no_float64(exported)
    raw = np.stack([read_cutout(each.paths) for each in scan(root).objects[:5]])
    logits, probabilities = find(exported.module(), raw, CPU)
    np.testing.assert_allclose(logits, score(network, prepare(raw, normalisation)[0], CPU), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(probabilities, 1 / (1 + np.exp(-logits)), rtol=1e-5)
    assert normalisation == "none" or len(set(logits)) == 5  # fluxes themselves are next to nothing
    assert network.training
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    return exported


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
@pytest.mark.slow
def test_any_number_of_cutouts_of_four_bands_is_scored_in_the_order_asked_for(
    tmp_path: Path, normalisation: str, small_ground: Path
) -> None:
    exported = gives_the_logits_of_the_network("lens_flow", 4, normalisation, small_ground, tmp_path).module()
    raw = np.random.default_rng(0).normal(0, 1e-12, (66, 4, 101, 101)).astype(np.float32)
    logits, _ = find(exported, raw, CPU)
    alone = [find(exported, raw[number : number + 1], CPU)[0][0] for number in (0, 64, 65)]
    np.testing.assert_allclose(logits[[0, 64, 65]], alone, atol=1e-6)
    np.testing.assert_allclose(find(exported, raw, CPU, rows=np.array([5, 3]))[0], logits[[5, 3]], atol=1e-6)
    assert find(exported, raw[:0], CPU)[0].shape == (0,)


def test_a_graph_that_is_taken_again_is_the_file_of_one_traced_anew(tmp_path: Path) -> None:
    path, networks = tmp_path / "finder.pt2", [architectures.create("lens_flow", bands=1, hidden=n) for n in (4, 4, 8)]
    for network in networks:
        digests = set()
        for kind in ("", f"lens_flow {network.classifier[0].out_features}"):
            finders.export(Finder(network, "none", kind), 1, 101, path)
            digests.add(finders.digest(path))
        assert len(digests) == 1


def test_a_graph_with_numbers_that_are_no_weights_is_not_taken_again(tmp_path: Path) -> None:
    class Shifted(torch.nn.Module):
        def __init__(self, by: float) -> None:
            super().__init__()
            self.register_buffer("by", torch.tensor(by), persistent=False)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.mean((1, 2, 3)) + self.by

    flux = np.zeros((1, 1, 101, 101), np.float32)
    for by in (1.0, 2.0):
        finders.export(Finder(Shifted(by), "none", "shifted"), 1, 101, tmp_path / "finder.pt2")
        assert find(pt2.load(tmp_path / "finder.pt2", CPU).module(), flux, CPU)[0] == by


def test_a_file_that_changed_has_another_digest(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one")
    before = finders.digest(path)
    path.write_bytes(b"two")
    assert finders.digest(path) != before


@pytest.mark.slow
def test_all_that_is_put_around_networks_is_float32_too(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 40).astype(np.int8)
    logits = rng.normal(labels[None], 1.0, (2, 80))
    one, other = (Finder(architectures.create("lens_flow", bands=1, hidden=8), "none") for _ in logits)
    ranked, mean = (
        combine([Orientations(one), other], "rank", labels, logits),
        combine([one, other], "mean", labels, logits),
    )
    inner = calibration.Calibrated(mean, calibration.temperature(labels, logits.mean(0)))
    finder = combine([ranked, inner], "stacking", labels, logits)
    whole = calibration.Calibrated(finder, calibration.isotonic(labels, logits.mean(0)))
    finders.export(whole, 1, 101, tmp_path / "finder.pt2")
    program = pt2.load(tmp_path / "finder.pt2", CPU)
    assert_no_float64(program)
    flux = rng.normal(0, 1, (3, 1, 101, 101)).astype(np.float32)
    assert len(set(find(whole, flux, CPU)[0])) == 3
    for found, expected in zip(find(program.module(), flux, CPU), find(whole, flux, CPU), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
