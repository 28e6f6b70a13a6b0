"""Attaches networks to runs, and loads them again: as pt2, which holds no code that loading would run."""

from __future__ import annotations

import importlib.metadata
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from orchestrator.data.challenge import SETS, ImagingSet
from orchestrator.data.cutouts import Cutouts
from orchestrator.errors import TrackingError
from orchestrator.learning.inference import evaluating
from orchestrator.learning.recipe import Recipe
from orchestrator.tracking.store import MlflowClient, MlflowException, mlflow

ALLOWED = "models:/NAME@ALIAS, models:/NAME/VERSION, runs:/RUN/model"


class Model(NamedTuple):
    """A network from the store: images (n, bands, size, size) to logits (n,), and what its input has to be."""

    network: Callable[[Tensor], Tensor]
    set: ImagingSet
    normalisation: str


def log(run_id: str, network: nn.Module, recipe: Recipe, cutouts: Cutouts) -> None:
    """Attach a network to a run; it takes any number of cutouts at once."""
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    shape = cutouts.pixels.shape[1:]
    signature = ModelSignature(
        Schema([TensorSpec(np.dtype(np.float32), (-1, *shape), "images")]),
        Schema([TensorSpec(np.dtype(np.float32), (-1,), "logits")]),
    )
    device = next(network.parameters()).device
    with warnings.catch_warnings(), evaluating(network), mlflow.start_run(run_id=run_id):
        warnings.simplefilter("ignore")  # deprecations inside MLflow and torch.export are not ours to mend
        mlflow.pytorch.log_model(
            network.cpu(),
            name="model",
            signature=signature,
            # Of two: one image alone would freeze the batch at one.
            input_example=np.zeros((2, *shape), np.float32),
            pip_requirements=[f"torch=={importlib.metadata.version('torch').partition('+')[0]}"],
            metadata={
                "set": cutouts.set.name,
                "bands": [band.name for band in cutouts.set.bands],
                "normalisation": recipe.normalisation,
                "architecture": recipe.architecture,
                "size": shape[-1],
            },
        )
    MlflowClient().update_run(run_id, status="RUNNING")  # MLflow has said that it is finished
    network.to(device)


def load(uri: str, device: torch.device) -> Model:
    """Load a model such as ``models:/lens-finder-space@champion``.

    Raises:
        TrackingError: no such model, or one that was not trained here.
    """
    if not uri.startswith(("models:/", "runs:/")):
        raise TrackingError(f"{uri}: not a model (allowed: {ALLOWED})")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            about: dict[str, Any] = mlflow.models.get_model_info(uri).metadata or {}
            network = mlflow.pytorch.load_model(uri, map_location=str(device))
    except (MlflowException, OSError) as error:
        raise TrackingError(f"{uri}: {str(error).splitlines()[0]} (allowed: {ALLOWED})") from None
    if "normalisation" not in about or about.get("set") not in SETS:
        raise TrackingError(
            f"{uri}: was not trained here: it does not say of which set and how normalised its input is"
        )
    return Model(network, SETS[about["set"]], about["normalisation"])
