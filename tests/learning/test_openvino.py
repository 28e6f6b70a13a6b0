"""OpenVINO gives the scores that the graph gives, whatever the batch, and what was made of a graph is kept whole."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

import architectures
from orchestrator.data.challenge import MASKED
from orchestrator.errors import RecipeError
from orchestrator.learning import calibration, ensemble, finder, openvino, pt2
from orchestrator.learning.finder import Finder, find

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network and a mean, two normalisations, a calibration and ranks."""
    torch.manual_seed(0)
    scores = np.linspace(-1, 1, 50)
    labels = (scores + np.sin(9 * scores) > 0).astype(np.int8)
    first = Finder(architectures.create("lens_flow", bands=2, hidden=8), "zscale")
    isotonic = calibration.Calibrated(Finder(Mean(), "asinh"), calibration.isotonic(labels, scores))
    path = tmp_path_factory.mktemp("openvino") / "graph.pt2"
    both = ensemble.combine([first, isotonic], "rank", labels, np.stack([scores, scores**3]))
    finder.export(both, 2, 101, path)
    return path


@pytest.fixture(scope="module")
def flux() -> np.ndarray:
    flux = np.random.default_rng(0).normal(0, 1e-12, (70, 2, 101, 101)).astype(np.float32)
    flux[:, :, 45:55, 45:55] += np.random.default_rng(1).random((70, 1, 1, 1), np.float32) * 1e-11
    flux[0, 0, :9], flux[1, 1, 50, 50], flux[2], flux[3, :, 7] = MASKED, np.nan, 0, np.inf
    return flux


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "lens-orchestrator"


@pytest.mark.slow
def test_scores_are_those_of_the_graph_and_what_was_made_is_kept_whole_or_made_anew(
    graph: Path, flux: np.ndarray, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported, digest = pt2.read(graph, CPU), finder.digest(graph)
    engine = openvino.load(exported, digest, (2, 101, 101), 2, 2)
    expected = np.stack(find(exported, flux, CPU))
    for count in (70, 64, 5, 1):
        found = np.stack(find(engine, flux[:count], CPU))
        assert found.shape == (2, count)
        np.testing.assert_allclose(found, expected[:, :count], atol=openvino.DIFFERENCE, rtol=openvino.DIFFERENCE)
    assert openvino.difference(engine, exported, flux[:64]) <= openvino.DIFFERENCE
    assert openvino.difference(engine, lambda some: {n: 1.001 * v for n, v in exported(some).items()}, flux) > 5e-4

    with ThreadPoolExecutor(4) as pool:  # each call has its own numbers
        parts = list(pool.map(lambda start: find(engine, flux[start : start + 7], CPU)[0], range(0, 70, 7)))
    np.testing.assert_allclose(np.concatenate(parts), expected[0], atol=1e-4)

    (kept,) = cache.iterdir()
    assert kept.name == f"{digest}-1-{openvino.version()}.openvino"
    monkeypatch.setattr(openvino, "_convert", None)
    again = openvino.load(exported, digest, (2, 101, 101), 2, 2)
    assert np.stack(find(again, flux, CPU)).tobytes() == np.stack(find(engine, flux, CPU)).tobytes()
    whole = kept.read_bytes()
    for torn in (whole[:-1], whole[:20], b"", bytes([whole[0] ^ 1]) + whole[1:], whole[:-9] + b"x" + whole[-8:]):
        kept.write_bytes(torn)
        with pytest.raises(RecipeError, match="'NoneType' object is not callable"):  # converted again
            openvino.load(exported, digest, (2, 101, 101), 2, 2)


class Decomposed(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.by = torch.nn.Parameter(torch.ones(1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.linalg.eigvalsh(images[:, 0] * self.by)[:, 0]


def test_what_cannot_be_converted_is_told_in_one_line_and_nothing_is_kept(cache: Path, tmp_path: Path) -> None:
    finder.export(Finder(Decomposed(), "none"), 1, 9, tmp_path / "graph.pt2")
    with pytest.raises(RecipeError, match=r"^OpenVINO cannot run it: .+") as refused:
        openvino.load(pt2.read(tmp_path / "graph.pt2", CPU), "0", (1, 9, 9), 1, 1)
    assert "\n" not in str(refused.value)
    assert not cache.exists()


def test_a_cache_that_cannot_be_written_costs_time_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    finder.export(Finder(Mean(), "none"), 1, 9, tmp_path / "graph.pt2")
    for _ in range(2):
        engine = openvino.load(pt2.read(tmp_path / "graph.pt2", CPU), "0", (1, 9, 9), 1, 1)
        found = engine(torch.ones(3, 1, 9, 9))
        torch.testing.assert_close(found["logit"], torch.full((3,), 2.0))
        torch.testing.assert_close(found["probability"], torch.full((3,), 2.0).sigmoid())


class Mean(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.by = torch.nn.Parameter(torch.full((1,), 2.0))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.by * images.mean((1, 2, 3))


def test_it_is_imported_without_what_tells_its_makers() -> None:
    openvino._library()
    assert not [name for name in sys.modules if "telemetry" in name and "openvino" in name]
    assert openvino.TOOLS not in sys.modules
