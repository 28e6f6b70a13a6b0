"""Attaches lens finders to runs, and loads them again: as pt2, which holds no code that loading would run."""

from __future__ import annotations

import importlib.metadata
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from orchestrator.data.challenge import SIZE, ImagingSet
from orchestrator.errors import TrackingError, Unreachable, first_line
from orchestrator.learning import finder as finders
from orchestrator.learning import pt2
from orchestrator.tracking import failures, recorded
from orchestrator.tracking.recorded import GRAPH, Model
from orchestrator.tracking.store import MlflowClient, mlflow

__all__ = ["Model", "load", "log"]

ALLOWED = "models:/NAME@ALIAS, models:/NAME/VERSION, runs:/RUN/model"

SERVED, READER = Path(__file__).with_name("served.py"), Path(pt2.__file__)
"""What MLflow runs of a model, and what that reads its graph with; both go with it."""


def log(run_id: str, finder: nn.Module, imaging: ImagingSet, about: Mapping[str, Any]) -> None:
    """Attach a finder to a run, with what is to be known of it.

    Args:
        run_id: the run.
        finder: raw flux to scores; see `orchestrator.learning.finder`.
        imaging: whose cutouts it takes.
        about: further entries of its metadata.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    kind, shape = np.dtype(np.float32), (len(imaging.bands), SIZE, SIZE)
    signature = ModelSignature(
        Schema([TensorSpec(kind, (-1, *shape), "flux")]),
        Schema([TensorSpec(kind, (-1,), name) for name in ("logit", "probability")]),
    )
    # Recorded, and so not shown: MLflow sets filters of its own.
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(record=True), mlflow.start_run(run_id=run_id):
        path = Path(folder) / GRAPH
        finders.export(finder, shape[0], SIZE, path)
        mlflow.pyfunc.log_model(
            name="model",
            python_model=str(SERVED),
            code_paths=[str(READER)],
            artifacts={"finder": str(path)},
            signature=signature,
            pip_requirements=[f"{name}=={_version(name)}" for name in ("torch", "numpy")],
            metadata={
                "set": imaging.name,
                "bands": [band.name for band in imaging.bands],
                "size": SIZE,
                "digest": finders.digest(path),
                **about,
            },
        )
        mlflow.end_run("RUNNING")  # else MLflow would say here that it is finished


def load(uri: str, device: torch.device) -> Model:
    """Load a model such as ``models:/lens-finder-space@champion``.

    Raises:
        TrackingError: no such model, one that was not recorded here, or one whose file was changed since.
        Unreachable: the store does not answer.
    """
    if not uri.startswith(("models:/", "runs:/")):
        raise TrackingError(f"{uri}: not a model (allowed: {ALLOWED})")
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            source, version = _fixed(uri)
            about: dict[str, Any] = mlflow.models.get_model_info(source).metadata or {}
            path = Path(mlflow.artifacts.download_artifacts(source, dst_path=folder))
        except Exception as error:
            failed = failures.told(error)
            if failed is None and not failures.absent(error):
                raise
            allowed = "" if isinstance(failed, Unreachable) else f" (allowed: {ALLOWED})"
            kind = TrackingError if failed is None or failures.absent(error) else type(failed)
            raise kind(f"{uri}: {failed or first_line(error)}{allowed}") from None
        return recorded.read(uri, version, path, about, device)


def _fixed(uri: str) -> tuple[str, str]:
    """A URI of the very files that one names, which no alias moves, and what to write beside their scores.

    Of a run's model MLflow would, asked by the run, not say why it cannot be had.
    """
    rest = uri.partition(":/")[2]
    if uri.startswith("models:/"):
        name, at, alias = rest.partition("@")
        version = f"{name}/{MlflowClient().get_model_version_by_alias(name, alias).version}" if at else rest
        return f"models:/{version}", version
    run_id, _, name = rest.partition("/")
    outputs = MlflowClient().get_run(run_id).outputs
    for each in reversed(outputs.model_outputs if outputs else []):
        if MlflowClient().get_logged_model(each.model_id).name == name:
            return f"models:/{each.model_id}", rest
    return uri, rest


def _version(package: str) -> str:
    return importlib.metadata.version(package).partition("+")[0]
