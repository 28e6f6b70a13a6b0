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

from orchestrator.errors import TrackingError, Unreachable, first_line
from orchestrator.reports.results import Row, best
from orchestrator.tracking import failures
from orchestrator.tracking.artifacts import original
from orchestrator.tracking.records import rows
from orchestrator.tracking.store import MlflowClient, MlflowException, database, mlflow, pages

CHAMPION = "champion"

CHAMPIONS = "champions"
"""Tag of a registered model: the versions that were champion, in their order, the present one last."""


LEFT = "-"
"""Before the last number of that tag: a rollback that leaves it is under way."""


@dataclass(frozen=True)
class Version:
    """One version of a registered model, and the row that it came of.

    Attributes:
        name: of the model.
        version: its number.
        aliases: that point to it.
        run_id: the row; empty of a version that this program did not register, and of one that is not there any more.
        tags: of the version.
        registered: when; None of one that is not there any more.
        source: where its files are.
        source_run: run that MLflow says it came of.
    """

    name: str
    version: int
    aliases: tuple[str, ...]
    run_id: str
    tags: Mapping[str, str]
    registered: datetime | None
    source: str = ""
    source_run: str = ""

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
        TrackingError: its model cannot be registered.
    """
    client, name, source = MlflowClient(), name_of(row.set), original(row.run_id)
    about = {"run_id": row.run_id, "model": row.name, "epochs": str(row.epochs or "-"), "by": getpass.getuser(), **tags}
    known = versions(name)
    found = next((each for each in known if each.run_id == row.run_id), None) or next(
        (each for each in known if not each.run_id and each.source_run == source), None
    )
    if found is None:
        try:
            with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):  # it talks of what it does
                warnings.simplefilter("ignore")
                made = mlflow.register_model(f"runs:/{source}/model", name, tags=about)  # with its tags or not at all
        except MlflowException as error:
            if isinstance(failures.told(error), Unreachable):
                raise
            raise TrackingError(f"{row.run_id}: its model cannot be registered: {first_line(error)}") from None
        return version(name, int(made.version))
    for key, value in about.items():
        if found.tags.get(key) != value:
            client.set_model_version_tag(name, str(found.version), key, value)
    return version(name, found.version)


def promote(row: Row, tags: Mapping[str, str], alias: str) -> Version:
    """Register the model of a row and point an alias at it: both, or neither.

    Killed in between, or kept from it by a store that is away, it goes on when it is done again.
    """
    before = {each.version for each in versions(name_of(row.set))}
    made = register(row, tags)
    try:
        return assign(made, alias)
    except Exception as error:
        if made.version not in before and not isinstance(failures.told(error), Unreachable):
            with contextlib.suppress(Exception):
                MlflowClient().delete_model_version(made.name, str(made.version))
        raise


def assign(candidate: Version, alias: str) -> Version:
    """Point an alias at a version; of the champions the order is kept.

    The alias is set last, and until then is what counts: see `_line`.
    """
    client = MlflowClient()
    if alias == CHAMPION:
        line, _ = _line(candidate.name)
        if not line or line[-1] != candidate.version:
            if line:
                client.set_model_version_tag(candidate.name, str(candidate.version), "previous_champion", str(line[-1]))
            text = " ".join(map(str, [*line, candidate.version]))
            client.set_registered_model_tag(candidate.name, CHAMPIONS, text)
    client.set_registered_model_alias(candidate.name, alias, str(candidate.version))
    return version(candidate.name, candidate.version)


def rollback(imaging: str) -> tuple[Version, Version]:
    """Make the champion before the present one champion again; returns the one that was, and the one that is.

    One that was killed is gone on with. Champions that were deleted since are passed over.

    Raises:
        TrackingError: there is none before.
    """
    client, name = MlflowClient(), name_of(imaging)
    line, left = _line(name)
    if left is not None and (not line or line[-1] != left):  # it is done, but for its last word
        was, before = left, line
    else:
        there = {each.version for each in versions(name)}
        was, before = (line[-1] if line else 0), [each for each in line[:-1] if each in there]
    if not before:
        raise TrackingError(f"{name}: no champion before the present one ({was or 'there is none'})")
    kept = " ".join(map(str, before))
    if line != before:
        client.set_registered_model_tag(name, CHAMPIONS, f"{kept} {LEFT}{was}")
        if version(name, was).registered is not None:
            now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
            client.set_model_version_tag(name, str(was), "rolled_back", now)
        client.set_registered_model_alias(name, CHAMPION, str(before[-1]))
    both = version(name, was), version(name, before[-1])  # read first: a rollback that is done must not fail any more
    client.set_registered_model_tag(name, CHAMPIONS, kept)
    return both


def champion(imaging: str) -> Version | None:
    """The champion of a set; None where the registry says that there is none. It may be one that was deleted."""
    name = name_of(imaging)
    number = _aliases(name).get(CHAMPION)
    return None if number is None else version(name, number)


def find(uri: str) -> Version:
    """The registered version that a URI names.

    Raises:
        TrackingError: there is none; it lists those there are.
    """
    name, _, alias = uri.removeprefix("models:/").partition("@")
    name, _, number = name.partition("/")
    if uri.startswith("models:/"):
        wanted = _aliases(name).get(alias) if alias else int(number) if number.isdecimal() else None
        found = version(name, wanted) if wanted is not None else None
        if found is not None and found.registered is not None:
            return found
    known = ", ".join(each.uri for each in versions() if each.run_id) or "none"
    raise TrackingError(f"{uri}: no such registered model (registered: {known})")


def version(name: str, number: int) -> Version:
    """One version; without a date where there is none of that number, or none any more."""
    pointing = tuple(sorted(alias for alias, at in _aliases(name).items() if at == number))
    try:
        found = MlflowClient().get_model_version(name, str(number))
    except MlflowException as error:
        if not failures.absent(error):
            raise
        return Version(name, number, pointing, "", {}, None)
    return _version(found, pointing)


def versions(name: str | None = None) -> list[Version]:
    """All versions of all registered models, or of one, by name and the newest first; those that aliases miss, too."""
    client = MlflowClient()
    models = pages(client.search_registered_models, filter_string=f"name = '{name}'" if name else None)
    aliases = {each.name: {alias: int(number) for alias, number in each.aliases.items()} for each in models}
    found = [
        _version(
            each, tuple(sorted(alias for alias, at in aliases.get(each.name, {}).items() if at == int(each.version)))
        )
        for each in pages(client.search_model_versions, filter_string=f"name = '{name}'" if name else None)
    ]
    there = {(each.name, each.version) for each in found}
    missing = {(model, number) for model, each in aliases.items() for number in each.values()} - there
    found += [version(*each) for each in missing]
    return sorted(found, key=lambda each: (each.name, -each.version))


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


def _aliases(name: str) -> dict[str, int]:
    model = _model(name)
    return {alias: int(number) for alias, number in model.aliases.items()} if model else {}


def _model(name: str) -> Any:
    """The registered model; None where the registry says that there is none of that name."""
    try:
        return MlflowClient().get_registered_model(name)
    except MlflowException as error:
        if failures.absent(error):
            return None
        raise


def _line(name: str) -> tuple[list[int], int | None]:
    """The champions in their order, the present one last, and the one that an unfinished rollback leaves.

    The tag is written before the alias, which decides: a process may have been killed in between, or somebody have
    moved the alias by hand.
    """
    model = _model(name)
    words = str(model.tags.get(CHAMPIONS, "")).split() if model else []
    present = int(model.aliases[CHAMPION]) if model and CHAMPION in model.aliases else None
    left = int(words.pop().removeprefix(LEFT)) if words and words[-1].startswith(LEFT) else None
    line = [int(each) for each in words]
    if left is not None:
        if left == present:  # the alias has not moved
            line.append(left)
    elif line[-2:-1] == [present]:  # a promotion that did not come to its alias
        line.pop()
    if present is None:  # taken away, or deleted with its version; a single one has not become champion yet
        return line if len(line) > 1 else [], None
    if line[-1:] != [present]:
        return [*line, present], None
    return line, left


def _version(found: Any, aliases: tuple[str, ...]) -> Version:
    registered = datetime.fromtimestamp(found.creation_timestamp / 1000, UTC)
    tags = dict(found.tags)
    ours = tags.get("run_id", "") if "model" in tags else ""
    return Version(
        found.name, int(found.version), aliases, ours, tags, registered, str(found.source), found.run_id or ""
    )
