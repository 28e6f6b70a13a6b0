"""What is written as ONNX gives the scores of the graph, or is not kept."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

import architectures
from orchestrator.errors import RecipeError
from orchestrator.learning import calibration, onnx, pt2
from orchestrator.learning import finder as finders
from orchestrator.learning.ensemble import combine
from orchestrator.learning.finder import Finder, find

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def flux() -> np.ndarray:
    """With noise, a bright object, masked pixels, pixels that are no number, and nothing at all."""
    flux = np.random.default_rng(0).normal(0, 1e-12, (5, 1, 101, 101)).astype(np.float32)
    flux[1, :, 45:55, 45:55] = 1e-9
    flux[2, :, :30] = 100
    flux[3, 0, :30] = np.nan
    flux[4] = 0
    return flux


def finder(normalisation: str) -> Finder:
    return Finder(architectures.create("lens_flow", bands=1, hidden=8), normalisation)


def ranked(normalisation: str) -> nn.Module:
    """The mean rank of two."""
    labels, logits = np.repeat([0, 1], 20).astype(np.int8), np.stack([np.linspace(-1, 1, 40)] * 2)
    return combine([finder(normalisation), finder(normalisation)], "rank", labels, logits)


@pytest.mark.slow
@pytest.mark.parametrize(("make", "normalisation"), [(finder, "zscale"), (ranked, "asinh")])
def test_scores_are_those_of_the_graph(
    make: Callable[[str], nn.Module], normalisation: str, flux: np.ndarray, tmp_path: Path
) -> None:
    knots = np.array([-1.0, 0.1, 0.2]), np.array([0.1, 0.5, 0.9])
    whole = calibration.Calibrated(make(normalisation), calibration.Isotonic(*knots))
    finders.export(whole, 1, 101, tmp_path / "finder.pt2")
    program = pt2.load(tmp_path / "finder.pt2", CPU)
    assert onnx.write(program, flux, tmp_path / "finder.onnx") < 1e-5
    session = onnxruntime.InferenceSession(str(tmp_path / "finder.onnx"), providers=["CPUExecutionProvider"])
    many = np.concatenate([flux] * 13)
    logits, probabilities = session.run(["logit", "probability"], {"flux": many})
    for found, expected in zip((logits, probabilities), find(program.module(), many, CPU), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["finder.onnx", "finder.pt2"]


@pytest.mark.slow
def test_what_differs_is_not_kept(flux: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finders.export(finder("asinh"), 1, 101, tmp_path / "finder.pt2")
    monkeypatch.setitem(onnx.SPELT, torch.ops.aten.asinh.default, lambda values: values)
    with pytest.raises(RecipeError, match=r"not kept: it differs from the graph by"):
        onnx.write(pt2.load(tmp_path / "finder.pt2", CPU), flux, tmp_path / "finder.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["finder.pt2"]
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(RecipeError, match=r"ONNX needs onnxruntime \(pip install 'lens-orchestrator\[onnx\]'\)"):
        onnx.write(pt2.load(tmp_path / "finder.pt2", CPU), flux, tmp_path / "finder.onnx")
