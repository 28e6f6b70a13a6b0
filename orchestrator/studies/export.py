"""Writes a recorded model to a file, for those who run it without this project."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch

from orchestrator.data.challenge import MASKED
from orchestrator.data.whole import write
from orchestrator.errors import DataError, one_of
from orchestrator.learning import onnx, pt2
from orchestrator.learning.finder import find
from orchestrator.studies.row import simulated
from orchestrator.tracking import models

FORMATS = (".onnx", ".pt2")


def export(uri: str, out: Path) -> float:
    """Write a model, and return the largest difference of its scores of simulated cutouts from the recorded graph's.

    Raises:
        DataError: a file of another kind.
        TrackingError: no such model.
        RecipeError: packages are missing, or what was written differs.
    """
    if out.suffix not in FORMATS:
        raise DataError(f"{out}: {one_of('format', out.suffix, FORMATS)}")
    cpu = torch.device("cpu")
    model = models.load(uri, cpu)
    flux = np.array(simulated(model.set.name))
    flux[0, :, :40, :40] = MASKED
    flux[1, 0, 0, 0] = np.nan
    if out.suffix == ".onnx":
        return onnx.write(model.program, flux, out)
    graph = io.BytesIO()  # torch tells its logs of a file that is not called .pt2, as half ones are
    pt2.save(model.program, graph)
    write(out, graph.getvalue())
    written, recorded = (np.stack(find(each, flux, cpu)) for each in (pt2.load(out, cpu).module(), model.finder))
    return float(np.abs(written - recorded).max())
