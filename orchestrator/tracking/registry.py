"""The registered models: versions, who is champion of its set, and who was before."""

from __future__ import annotations

import contextlib
import getpass
import io
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock

from orchestrator.errors import TrackingError
from orchestrator.reports.results import Row, best
from orchestrator.tracking.artifacts import original
from orchestrator.tracking.records import rows
from orchestrator.tracking.store import MlflowClient, MlflowException, database, mlflow

CHAMPION = "champion"

CHAMPIONS = "champions"
"""Tag of a registered model: the versions that were champion, in their order, the present one last."""


@dataclass(frozen=True)
class Version:
    """One version of a registered model, and the row that it came of."""

    name: str
    version: int
    aliases: tuple[str, ...]
    run_id: str
    tags: Mapping[str, str]
    registered: datetime

    @property
    def uri(self) -> str:
        """What `evaluate --model` takes."""
        return f"models:/{self.name}@{self.aliases[0]}" if self.aliases else f"models:/{self.name}/{self.version}"


def name_of(imaging: str) -> str:
    """The registered model of a set."""
    return f"lens-finder-{imaging}"


def register(row: Row, tags: Mapping[str, str]) -> Version:
    """Register the model of a row, unless it is registered already; the tags are set either way.

    Raises:
        TrackingError: the row has no model.
    """
    client, name = MlflowClient(), name_of(row.set)
    found = next((each for each in versions(name) if each.run_id == row.run_id), None)
    number = found.version if found else None
    if number is None:
        try:
            with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):  # it talks of what it does
                warnings.simplefilter("ignore")
                number = int(mlflow.register_model(f"runs:/{original(row.run_id)}/model", name).version)
        except MlflowException as error:
            raise TrackingError(f"{row.run_id}: has no model: {str(error).splitlines()[0]}") from None
    about = {"run_id": row.run_id, "model": row.name, "epochs": str(row.epochs or "-"), "by": getpass.getuser()}
    for key, value in {**about, **tags}.items():
        client.set_model_version_tag(name, str(number), key, value)
    return version(name, number)


def assign(candidate: Version, alias: str) -> Version:
    """Point an alias at a version; of the champions the order is kept."""
    client = MlflowClient()
    if alias == CHAMPION:
        line = _champions(candidate.name)
        if line:
            client.set_model_version_tag(candidate.name, str(candidate.version), "previous_champion", line[-1])
        line.append(str(candidate.version))
        client.set_registered_model_tag(candidate.name, CHAMPIONS, " ".join(line))
    client.set_registered_model_alias(candidate.name, alias, str(candidate.version))
    return version(candidate.name, candidate.version)


def rollback(imaging: str) -> tuple[Version, Version]:
    """Make the champion before the present one champion again; returns the one that was, and the one that is.

    Raises:
        TrackingError: there is none before.
    """
    client, name = MlflowClient(), name_of(imaging)
    line = _champions(name)
    if len(line) < 2:
        raise TrackingError(f"{name}: no champion before the present one ({line[-1] if line else 'there is none'})")
    was, now = (version(name, int(number)) for number in (line[-1], line[-2]))
    client.set_registered_model_tag(name, CHAMPIONS, " ".join(line[:-1]))
    client.set_model_version_tag(name, str(was.version), "rolled_back", f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}")
    client.set_registered_model_alias(name, CHAMPION, str(now.version))
    return was, version(name, now.version)


def champion(imaging: str) -> Version | None:
    """The champion of a set."""
    return next((each for each in versions(name_of(imaging)) if CHAMPION in each.aliases), None)


def find(uri: str) -> Version:
    """The registered version that a URI names.

    Raises:
        TrackingError: there is none; it lists those there are.
    """
    name, _, alias = uri.removeprefix("models:/").partition("@")
    name, _, number = name.partition("/")
    for each in versions(name) if uri.startswith("models:/") else ():
        if alias in each.aliases or number == str(each.version):
            return each
    known = ", ".join(each.uri for each in versions()) or "none"
    raise TrackingError(f"{uri}: no such registered model (registered: {known})")


def version(name: str, number: int) -> Version:
    """One version."""
    return next(each for each in versions(name) if each.version == number)


def versions(name: str | None = None) -> list[Version]:
    """All versions of all registered models, or of one, the newest first."""
    client = MlflowClient()
    models = [each for each in client.search_registered_models() if name in (None, each.name)]
    return [
        _version(each, model.aliases)
        for model in models
        for each in sorted(client.search_model_versions(f"name = '{model.name}'"), key=lambda each: -int(each.version))
    ]


def best_row(study: str, metric: str) -> Row:
    """The best row of a study.

    Args:
        study: whose rows to choose from.
        metric: which decides; by validation, because what is chosen on the test set is no longer tested on it.

    Raises:
        TrackingError: no such study, no row with that metric, or rows of several data sets.
    """
    table = [row for row in rows(study) if row.epochs is not None]  # somebody else's scores have no model
    scored = [row for row in table if metric in row.metrics]
    if not scored:
        known = sorted({name for row in table for name in row.metrics})
        raise TrackingError(f"no row of '{study}' has the metric '{metric}' (allowed: {', '.join(known)})")
    sets = sorted({row.dataset for row in scored})
    if len(sets) > 1:
        raise TrackingError(f"the rows of '{study}' come of {len(sets)} data sets ({', '.join(sets)}): not comparable")
    return best(scored, metric)[0]


def exclusive() -> FileLock:
    """One promotion at a time on this machine; the last of two writers would win without a trace."""
    path = database(mlflow.get_tracking_uri())
    return FileLock(f"{path or Path(tempfile.gettempdir()) / 'lens-orchestrator'}.registry.lock")


def _champions(name: str) -> list[str]:
    try:
        return str(MlflowClient().get_registered_model(name).tags.get(CHAMPIONS, "")).split()
    except MlflowException:
        return []


def _version(found: Any, aliases: Mapping[str, Any]) -> Version:
    own = tuple(sorted(alias for alias, at in aliases.items() if str(at) == str(found.version)))
    registered = datetime.fromtimestamp(found.creation_timestamp / 1000, UTC)
    return Version(found.name, int(found.version), own, found.tags.get("run_id", ""), dict(found.tags), registered)
