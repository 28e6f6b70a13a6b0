"""The registered models: the best of a study becomes the champion of its set."""

from __future__ import annotations

import contextlib
import io
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from orchestrator.errors import TrackingError
from orchestrator.reports.results import Row, best
from orchestrator.tracking.records import original, rows
from orchestrator.tracking.store import MlflowClient, database, mlflow

CHAMPION = "champion"


@dataclass(frozen=True)
class Version:
    """One version of a registered model, and the row of a study that it came of."""

    name: str
    version: int
    aliases: tuple[str, ...]
    model: str
    epochs: str
    study: str
    run_id: str

    @property
    def uri(self) -> str:
        """What `evaluate --model` takes."""
        return f"models:/{self.name}@{self.aliases[0]}" if self.aliases else f"models:/{self.name}/{self.version}"


def promote(study: str, metric: str = "val_auc") -> Version:
    """Register the best row of a study, and point the alias champion of its set at it.

    Promoting the same row again changes nothing. The version that was champion before stands in the tag
    `previous_champion`.

    Args:
        study: whose rows to choose from.
        metric: which decides; by validation, because what is chosen on the test set is no longer tested on it.

    Raises:
        TrackingError: no such study, no row with that metric, or rows of several data sets.
    """
    best = _best(study, metric)
    client = MlflowClient()
    name = f"lens-finder-{best.set}"
    with _lock():
        known = client.search_model_versions(f"name = '{name}'")
        found = next((each for each in known if each.tags.get("run_id") == best.run_id), None)
        if found is None:
            with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):  # it talks of what it does
                warnings.simplefilter("ignore")
                found = mlflow.register_model(f"runs:/{original(best.run_id)}/model", name)
        tags = {"run_id": best.run_id, "model": best.name, "epochs": str(best.epochs), "study": study}
        before = client.get_registered_model(name).aliases.get(CHAMPION)
        if before is not None and before != str(found.version):
            tags["previous_champion"] = str(before)
        for key, value in tags.items():
            client.set_model_version_tag(name, found.version, key, value)
        client.set_registered_model_alias(name, CHAMPION, found.version)
    return next(each for each in versions() if (each.name, each.version) == (name, int(found.version)))


def versions() -> list[Version]:
    """All versions of all registered models, the newest first."""
    client = MlflowClient()
    found = []
    for model in client.search_registered_models():
        for each in client.search_model_versions(f"name = '{model.name}'"):
            aliases = tuple(sorted(alias for alias, at in model.aliases.items() if str(at) == str(each.version)))
            row = [each.tags.get(key, "unknown") for key in ("model", "epochs", "study", "run_id")]
            found.append(Version(model.name, int(each.version), aliases, *row))
    return sorted(found, key=lambda each: (each.name, -each.version))


def _best(study: str, metric: str) -> Row:
    table = [row for row in rows(study) if row.epochs is not None]  # somebody else's scores have no model
    scored = [row for row in table if metric in row.metrics]
    if not scored:
        known = sorted({name for row in table for name in row.metrics})
        raise TrackingError(f"no row of '{study}' has the metric '{metric}' (allowed: {', '.join(known)})")
    sets = sorted({row.dataset for row in scored})
    if len(sets) > 1:
        raise TrackingError(f"the rows of '{study}' come of {len(sets)} data sets ({', '.join(sets)}): not comparable")
    return best(scored, metric)[0]


def _lock() -> FileLock:
    """One promotion at a time on this machine; the last of two writers would win without a trace."""
    path = database(mlflow.get_tracking_uri())
    return FileLock(f"{path or Path(tempfile.gettempdir()) / 'lens-orchestrator'}.registry.lock")
