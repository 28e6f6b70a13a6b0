"""Runs a study: for each network an Optuna study of its own; what is done stays done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import optuna

from orchestrator.errors import StudyError
from orchestrator.studies.bench import Bench
from orchestrator.studies.storage import Claim, Storage, open_study
from orchestrator.studies.study import Study
from orchestrator.studies.worker import Watch, failures, work
from orchestrator.tracking import artifacts, records, runs

NOT_OF_TRAININGS = {"name", "description", "architectures", "drop_dominated", "trials", "gate", "extension", "scales"}
"""What may change in a study that was begun."""


def sweep(study: Study, storage: Storage, bench: Bench, parent: str, watch: Watch) -> list[str]:
    """Do what is left of a study, and return what failed, a line each.

    Raises:
        StudyError: the stored study was begun with other settings, or trainings fail in the same way.
    """
    searches = opened(study, storage, bench)
    work(study, storage, searches, bench, parent, watch)
    return failures(searches)


def opened(study: Study, storage: Storage, bench: Bench) -> dict[str, optuna.Study]:
    """The studies of all networks in the storage, begun where they were not.

    Raises:
        StudyError: one was begun with other settings; it names the key.
    """
    with Claim(storage):
        return open_all(study, storage, bench)


def open_all(study: Study, storage: Storage, bench: Bench) -> dict[str, optuna.Study]:
    """The same for whoever holds the claim."""
    return {architecture: _open(study, architecture, storage, bench) for architecture in study.architectures}


def _open(study: Study, architecture: str, storage: Storage, bench: Bench) -> optuna.Study:
    grid = study.grid(architecture) if study.search == "grid" else []
    searched = open_study(f"{study.name}/{architecture}", study.direction, storage, grid)
    definition = study.model_dump(mode="json", exclude=NOT_OF_TRAININGS)
    definition |= {"data_digest": bench.data_digest, "test_data_digest": bench.test_digest}
    stored = searched.user_attrs.get("definition")
    if stored is None:
        for combination in grid:
            searched.enqueue_trial(combination, skip_if_exists=True)
        searched.set_user_attr("definition", definition)  # last, so that a kill before it costs nothing
        return searched
    # Of what was begun before it was kept, today's set to test on is taken for that which it was begun with.
    whole = {"test_data_digest": bench.test_digest, **stored}
    before, now = _flat(whole), _flat(definition)
    for key in dict.fromkeys((*now, *before)):
        if before.get(key) != now.get(key):
            raise StudyError(
                f"study '{study.name}' was begun with {key} = {before.get(key)!r}, and it is {now.get(key)!r} now;"
                " put it back, or begin another study with what is done of it by --fork NAME"
            )
    if whole != stored:
        searched.set_user_attr("definition", whole)
    return searched


def _flat(definition: Mapping[str, Any]) -> dict[str, Any]:
    """A definition with a key for each setting, as `vary.learning_rate`."""
    flat: dict[str, Any] = {}
    for key, value in definition.items():
        flat |= {f"{key}.{inner}": each for inner, each in value.items()} if isinstance(value, dict) else {key: value}
    return flat


def begin(experiment: str, study: Study) -> str:
    """The MLflow run of a study: the one begun before, or a new one; to be called under the claim."""
    found = None if runs.attached() else records.find_study(study.name)
    run_id = found or runs.begin(experiment, "study", study.name, study=study.name)
    artifacts.log_text(run_id, study.model_dump_json(indent=1, exclude={"scales"}), "study.json")
    if study.scale:
        runs.log_tags(run_id, {"scale": study.scale})
    return run_id


def joined(experiment: str, study: Study, storage: Storage) -> str:
    """The MLflow run of a study that others may be at work on; the first of them begins it."""
    with Claim(storage):
        found = records.find_study(study.name)
        if found is None:
            found = begin(experiment, study)
            runs.leave(found)  # its workers come and go; a sweep that follows says how it ended
        return found
