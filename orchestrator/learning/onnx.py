"""Writes a finder as ONNX, for those who run it without torch, and keeps it only if it gives the same."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.export import ExportedProgram

from orchestrator.data.whole import output
from orchestrator.errors import RecipeError
from orchestrator.learning.finder import find, largest_difference

DIFFERENCE = 1e-4
"""Between scores of the graph and of what was written, at most; of logits relative above 1."""

NAMES = ["logit", "probability"]

aten = torch.ops.aten


def write(program: ExportedProgram, flux: NDArray[np.float32], path: Path) -> float:
    """Write a finder, and return the largest difference from the graph.

    Args:
        program: as exported, on the CPU.
        flux: (n, bands, size, size) of cutouts to compare on, one by one and all at once.
        path: the file to write; nothing is left of one that differs.

    Raises:
        RecipeError: packages are missing, or it differs by more than `DIFFERENCE`.
    """
    try:
        import onnxruntime
        import onnxscript  # noqa: F401 - torch needs it, and says so less clearly
    except ImportError as error:
        raise RecipeError(f"{path.name}: ONNX needs {error.name} (pip install 'lens-orchestrator[onnx]')") from None
    with output(path) as partial:
        _convert(program, partial)
        session = onnxruntime.InferenceSession(str(partial), providers=["CPUExecutionProvider"])
        expected = np.stack(find(program.module(), flux, torch.device("cpu")))
        each = [session.run(NAMES, {"flux": flux[n : n + 1]}) for n in range(len(flux))]
        at_once = session.run(NAMES, {"flux": flux})
        found = np.stack([np.concatenate(each, axis=1), np.stack(at_once)])
        difference = largest_difference(found, expected)
        if not difference <= DIFFERENCE:
            raise RecipeError(
                f"{path.name}: not kept: it differs from the graph by {difference:.2g}, and may by {DIFFERENCE:g}"
            )
    return difference


def _convert(program: ExportedProgram, path: Path) -> None:
    quiet = logging.getLogger("torch.onnx")
    before = quiet.level
    quiet.setLevel(logging.ERROR)  # of packages that no finder needs
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # deprecations inside torch.onnx are not ours to mend
            spelt = program.run_decompositions(SPELT)
            torch.onnx.export(
                spelt, f=path, dynamo=True, verbose=False, input_names=["flux"], output_names=NAMES, external_data=False
            )
    finally:
        quiet.setLevel(before)


def _searchsorted(ascending: Tensor, values: Tensor, *, right: bool = False, out_int32: bool = False) -> Tensor:
    """ONNX has none; how many are not above is the same, from the right."""
    assert right
    assert not out_int32
    return (ascending <= values[..., None]).sum(-1)


def _median(values: Tensor, dim: int, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    """ONNX has none; the one in the middle, or before it."""
    assert keepdim
    ordered, places = values.sort(dim=dim)
    middle = (values.shape[dim] - 1) // 2
    return ordered.narrow(dim, middle, 1), places.narrow(dim, middle, 1)


SPELT = {aten.median.dim: _median, aten.searchsorted.Tensor: _searchsorted}
"""What ONNX lacks, in operations that it has."""
