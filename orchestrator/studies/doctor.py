"""Finds what killed processes left behind, and puts it right."""

from __future__ import annotations

import platform
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState

from orchestrator.data.whole import PARTIAL, writer
from orchestrator.errors import RecipeError
from orchestrator.learning.training import notes
from orchestrator.studies.storage import Claim, Dead, Storage, begun, is_left, requeue
from orchestrator.studies.trial import CHECKPOINT, CHECKPOINTS, STORE, catch_up, set_aside, unrecorded
from orchestrator.tracking import artifacts, leftovers, moved, records, store
from orchestrator.tracking.leftovers import is_dead


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be, what mends it, and the doing of that; None where a person has to look."""

    what: str
    remedy: str
    mend: Callable[[], object] | None
    on_request: bool = False
    """Whether it is done for nobody who does not ask for it: it takes a file away, or may fill a disk."""


def examine(storage: Storage) -> list[Finding]:
    """Look at both stores, their files, and the checkpoints of the working directory; changes nothing."""
    return [*_files(), *_runs(), *_trials(storage), *_checkpoints()]


def mend(storage: Storage, *, asked: bool = False) -> list[Finding]:
    """Put right what can be, and return what was found; some things only if `asked` for."""
    found = examine(storage)
    for each in found:
        if each.mend is not None and (asked or not each.on_request):
            each.mend()
    return found


def reap(storage: Storage, workers: Collection[str]) -> None:
    """Put right what workers left that a cluster started under these names, and that have ended."""

    def dead(process: Mapping[str, Any]) -> bool:
        return process.get("worker") in workers

    for each in (*_runs(dead), *_trials(storage, dead)):
        if each.mend is not None:
            each.mend()


def _files() -> Iterator[Finding]:
    database = store.file()
    if database is None:
        return
    for folder, paths in moved.left_behind(database).items():
        what = f"files of {len(paths)} runs and models are in {folder}, and not beside {database}"
        yield Finding(what, "copy them here", partial(moved.fetch, database, folder, paths), on_request=True)


def _runs(dead: Dead = is_dead) -> Iterator[Finding]:
    for each in records.unfinished():
        run_id, kind, name, tags = each
        process = f"process {tags.get('pid', 'unknown')} on {tags.get('host', 'an unknown machine')}"
        what = f"MLflow run {run_id} ({kind} {name} of {tags.get('study') or 'no study'})"
        if kind == "row" and dead(tags):
            yield Finding(
                f"{what} was not recorded to its end",
                "delete it; the training records it anew",
                partial(leftovers.mend, each),
            )
        elif dead(tags):
            yield Finding(
                f"{what} says RUNNING, and its {process} is gone", "mark it KILLED", partial(leftovers.mend, each)
            )
        elif kind != "row" and tags.get("host") != platform.node():
            yield Finding(f"{what} says RUNNING, in {process}", "look there: it cannot be told from here", None)


def _trials(storage: Storage, dead: Dead = is_dead) -> Iterator[Finding]:
    with Claim(storage):
        left = [
            (searched, trial)
            for *_, searched in begun(storage)
            for trial in searched.get_trials(deepcopy=False, states=[TrialState.RUNNING])
            if is_left(trial, dead)
        ]

    def again(searched: optuna.Study) -> None:
        with Claim(storage):
            requeue(searched, dead)

    for searched, trial in left:
        about = trial.user_attrs
        process = f"process {about.get('pid', 'unknown')} on {about.get('host', 'an unknown machine')}"
        what = f"trial {trial.number} of {searched.study_name} says RUNNING, and its {process} is gone"
        yield Finding(what, "queue it again", partial(again, searched))


def _checkpoints() -> Iterator[Finding]:
    for path in sorted(Path(CHECKPOINTS).rglob("*")):
        if path.suffix == PARTIAL:
            yield from _partial(path)
        elif path.suffix == ".pt":
            yield from _checkpoint(path)


def _partial(path: Path) -> Iterator[Finding]:
    process = writer(path)
    what = f"{path} is half a checkpoint, of process {process.get('pid', 'unknown')}"
    if is_dead(process):
        yield Finding(f"{what}, which is gone", "delete it", partial(path.unlink, missing_ok=True), on_request=True)
    elif process.get("host") != platform.node():
        yield Finding(
            f"{what} on {process.get('host', 'an unknown machine')}", "look there: it cannot be told from here", None
        )


def _checkpoint(path: Path) -> Iterator[Finding]:
    try:
        kept = notes(path)
        run_id = str(kept["run_id"])
    except FileNotFoundError:  # its training was finished, here or on another machine, since it was listed
        return
    except OSError as error:
        yield Finding(f"{path} cannot be read: {error.strerror or error}", "look for what keeps it from being", None)
        return
    except (RecipeError, KeyError):
        yield Finding(
            f"{path} is not a readable checkpoint",
            f"move it to {path.name}.broken; its training begins anew",
            partial(set_aside, path),
            on_request=True,
        )
        return
    stage, kept_in = records.stage(run_id), kept.get(STORE, "a store that it does not name")
    if stage is None:
        what = f"{path} is of run {run_id}, which is not in this store but was in {kept_in}"
        yield Finding(what, "go on with it there, or delete it yourself if that is gone", None)
        return
    if stage == "deleted":
        what = f"{path} is of run {run_id}, which was deleted"
        yield Finding(what, "delete it", partial(path.unlink, missing_ok=True), on_request=True)
        return
    missing = unrecorded(run_id, kept)
    at_work = any(each.run_id == run_id and not is_dead(each.tags) for each in records.unfinished())
    if missing and not at_work:  # else it is recorded before the training goes on
        epochs = f"epoch {min(missing)}" if len(missing) == 1 else f"epochs {min(missing)} to {max(missing)}"
        what = (
            f"{epochs} of run {run_id} not recorded before the store failed or the work ended; {path} has the metrics"
        )

        def upload() -> None:
            catch_up(run_id, kept)
            artifacts.log_file(run_id, path, CHECKPOINT)

        yield Finding(what, "record them, and attach the checkpoint", upload)
