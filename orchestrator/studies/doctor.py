"""Finds what killed processes left behind, and puts it right."""

from __future__ import annotations

import platform
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import torch
from optuna.trial import TrialState

from orchestrator.studies.storage import Claim, Dead, Storage, is_dead, requeue
from orchestrator.studies.trial import CHECKPOINT, CHECKPOINTS, UNRECORDED, catch_up, unrecorded
from orchestrator.tracking import artifacts, records, runs


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be, what mends it, and the doing of that; None where a person has to look."""

    what: str
    remedy: str
    mend: Callable[[], object] | None


def examine(storage: Storage) -> list[Finding]:
    """Look at both stores and at the checkpoints of the working directory; changes nothing."""
    return [*_runs(), *_trials(storage), *_checkpoints()]


def mend(storage: Storage) -> list[Finding]:
    """Put right what can be, and return what was found."""
    found = examine(storage)
    for each in found:
        if each.mend is not None:
            each.mend()
    return found


def reap(storage: Storage, workers: Collection[str]) -> None:
    """Put right what workers left that a cluster started under these names, and that have ended."""

    def dead(process: Mapping[str, Any]) -> bool:
        return process.get("worker") in workers

    claim = Claim(storage)
    claim.take()
    try:
        for each in (*_runs(dead), *_trials(storage, dead)):
            if each.mend is not None:
                each.mend()
    finally:
        claim.give_back()


def _runs(dead: Dead = is_dead) -> Iterator[Finding]:
    for run_id, kind, name, tags in records.unfinished():
        process = f"process {tags.get('pid', 'unknown')} on {tags.get('host', 'an unknown machine')}"
        what = f"MLflow run {run_id} ({kind} {name} of {tags.get('study') or 'no study'})"
        if kind == "row" and dead(tags):
            yield Finding(
                f"{what} was not recorded to its end",
                "delete it; the training records it anew",
                partial(runs.delete, run_id),
            )
        elif dead(tags):
            yield Finding(
                f"{what} says RUNNING, and its {process} is gone", "mark it KILLED", partial(runs.end, run_id, "KILLED")
            )
        elif kind != "row" and tags.get("host") != platform.node():
            yield Finding(f"{what} says RUNNING, in {process}", "look there: it cannot be told from here", None)


def _trials(storage: Storage, dead: Dead = is_dead) -> Iterator[Finding]:
    for summary in optuna.get_all_study_summaries(storage):
        searched = optuna.load_study(study_name=summary.study_name, storage=storage)
        for trial in searched.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
            if dead(trial.user_attrs):
                process = f"process {trial.user_attrs['pid']} on {trial.user_attrs['host']}"
                what = f"trial {trial.number} of {summary.study_name} says RUNNING, and its {process} is gone"
                yield Finding(what, "queue it again", partial(requeue, searched, dead))


def _checkpoints() -> Iterator[Finding]:
    for path in sorted(Path(CHECKPOINTS).rglob("*")):
        if path.suffix == ".partial" and is_dead({"host": platform.node(), "pid": path.suffixes[-2].lstrip(".")}):
            yield Finding(f"{path} is half a checkpoint", "delete it", path.unlink)
        elif path.suffix == ".pt":
            yield from _checkpoint(path)


def _checkpoint(path: Path) -> Iterator[Finding]:
    try:
        notes = torch.load(path, map_location="cpu", weights_only=True)["notes"]
        run_id = str(notes["run_id"])
    except Exception:  # a broken file can raise anything
        yield Finding(f"{path} is not a readable checkpoint", "delete it; its training begins anew", path.unlink)
        return
    if not records.exists(run_id):
        remedy = ("look for the store it is of", None) if UNRECORDED in notes else ("delete it", path.unlink)
        yield Finding(f"{path} is of run {run_id}, which is not in this store", *remedy)
        return
    missing = unrecorded(run_id, notes)
    at_work = any(each.run_id == run_id and not is_dead(each.tags) for each in records.unfinished())
    if missing and not at_work:  # else it is recorded before the training goes on
        epochs = f"epoch {min(missing)}" if len(missing) == 1 else f"epochs {min(missing)} to {max(missing)}"
        what = (
            f"{epochs} of run {run_id} not recorded before the store failed or the work ended; {path} has the metrics"
        )

        def upload() -> None:
            catch_up(run_id, notes)
            artifacts.log_file(run_id, path, CHECKPOINT)

        yield Finding(what, "record them, and attach the checkpoint", upload)
