"""What computes a scoring is told in one line where it cannot."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.cli.calling import Call


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--device", "all"], "--device all: no CUDA GPU is here (allowed: --device cpu)"),
        (["--engine", "ray", "--runtime", "openvino"], "--runtime is of this machine (allowed with --engine local)"),
        (["--engine", "ray", "--device", "all"], "--device is of this machine (allowed with --engine local)"),
        (["--runtime", "onnx"], "'onnx' is not one of 'torch', 'openvino'"),
    ],
)
def test_what_cannot_compute_is_refused_before_anything_is_read(
    options: list[str], told: str, call: Call, tmp_path: Path
) -> None:
    if torch.cuda.is_available() and options == ["--device", "all"]:
        pytest.skip("there are GPUs")
    command = ["score", "--model", "models:/none@champion", "--data", str(tmp_path), "--out", str(tmp_path / "s.csv")]
    assert told in call(*command, *options, expect=2).stderr
    assert list(tmp_path.iterdir()) == []
