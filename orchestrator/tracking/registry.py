"""The registered models: the best of a study becomes the champion of its set."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock
from torch import Tensor

from orchestrator.errors import TrackingError
from orchestrator.learning.metrics import LOWER_IS_BETTER
from orchestrator.tracking.runs import rows
from orchestrator.tracking.store import MlflowClient, MlflowException, database, mlflow

CHAMPION = "champion"


@dataclass(frozen=True)
class Version:
    """One version of a registered model."""

    name: str
    version: str
    aliases: tuple[str, ...]
    model: str
    epochs: str
    study: str
    run_id: str


def promote(study: str, metric: str = "val_auc") -> Version:
    """Register the best row of a study, and point the alias champion of its set at it.

    The version that was champion before stands in the tag `previous_champion`.

    Raises:
        TrackingError: no such study, or no row with that metric.
    """
    table = rows(study)
    scored = [row for row in table if metric in row.metrics]
    if not scored:
        known = sorted({name for row in table for name in row.metrics})
        raise TrackingError(f"no row of '{study}' has the metric '{metric}' (allowed: {', '.join(known)})")
    sign = -1 if metric.removeprefix("val_") in LOWER_IS_BETTER else 1
    best = max(scored, key=lambda row: sign * row.metrics[metric])
    client = MlflowClient()
    name = f"lens-finder-{client.get_run(best.run_id).data.tags['set']}"
    with _lock():
        if not client.search_registered_models(f"name = '{name}'"):
            client.create_registered_model(name)
        known_versions = client.search_model_versions(f"name = '{name}'")
        found = next((each for each in known_versions if each.tags.get("run_id") == best.run_id), None)
        if found is None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = mlflow.register_model(f"runs:/{best.run_id}/model", name)
        tags = {"run_id": best.run_id, "model": best.model, "epochs": str(best.epochs), "study": study}
        before = client.get_registered_model(name).aliases.get(CHAMPION)
        if before is not None and before != str(found.version):
            tags["previous_champion"] = str(before)
        for key, value in tags.items():
            client.set_model_version_tag(name, found.version, key, value)
        client.set_registered_model_alias(name, CHAMPION, found.version)
    return next(each for each in versions() if (each.name, each.version) == (name, str(found.version)))


def versions() -> list[Version]:
    """All versions of all registered models, the newest first."""
    client = MlflowClient()
    found = []
    for model in client.search_registered_models():
        for each in client.search_model_versions(f"name = '{model.name}'"):
            aliases = tuple(sorted(alias for alias, at in model.aliases.items() if str(at) == str(each.version)))
            tag = each.tags.get
            row = (tag("model", "?"), tag("epochs", "?"), tag("study", "?"), tag("run_id", "?"))
            found.append(Version(model.name, str(each.version), aliases, *row))
    return sorted(found, key=lambda each: (each.name, -int(each.version)))


def load(uri: str) -> tuple[Callable[[Tensor], Tensor], dict[str, Any]]:
    """Load a model, such as ``models:/lens-finder-space@champion``, and what it needs to know of its input.

    Returns:
        The network, and its set, bands, size and normalisation.

    Raises:
        TrackingError: no such model, or none of ours.
    """
    if not uri.startswith(("models:/", "runs:/")):
        raise TrackingError(f"{uri}: not a model (allowed: models:/NAME@ALIAS, models:/NAME/VERSION, runs:/ID/model)")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            about = mlflow.models.get_model_info(uri).metadata
            network = mlflow.pytorch.load_model(uri, map_location="cpu")
    except MlflowException as error:
        raise TrackingError(f"{uri}: {str(error).splitlines()[0]}") from None
    if not about or "normalisation" not in about:
        raise TrackingError(f"{uri}: was not trained here: it does not say how its input is normalised")
    return network, about


def _lock() -> FileLock:
    """One promotion at a time on this machine; the last of two writers would win without a trace."""
    path = database(mlflow.get_tracking_uri())
    return FileLock(f"{path or Path(tempfile.gettempdir()) / 'lens-orchestrator'}.registry.lock")
