"""A small study that has to end as if nothing had happened, whatever befalls its processes."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState

from tests.cli.calling import invoke, start

STUDY = """
data = "{data}"
architectures = ["lens_flow"]
epochs = [2, {epochs}]
[fixed]
batch_size = 16
normalisation = "asinh"
[vary]
seed = {{ choices = [1, 2] }}
"""
EXACT = ("auc", "tpr", "fpr", "tpr0", "tpr10", "val_auc", "val_loss", "loss")

CHECKPOINT = 2
"""The epoch count at which a checkpoint is written before the last."""

Results = dict[tuple[str, int], dict[str, float]]


def folder(path: Path, data: Path, epochs: int = 12) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    (path / "faulty.toml").write_text(STUDY.format(data=data, epochs=epochs))
    return path


def call(at: Path, *arguments: str, expect: int = 0) -> str:
    with contextlib.chdir(at):
        return invoke(*arguments, expect=expect).stdout


def results(at: Path, *options: str) -> Results:
    rows: list[dict[str, Any]] = json.loads(call(at, "table", "--study", "faulty", "--format", "json", *options))
    found = {(row["seed"], row["epochs"]): {name: row[name] for name in EXACT} for row in rows}
    assert len(found) == len(rows)  # none twice
    return found


def sweep(at: Path, *options: str) -> subprocess.Popen[str]:
    return start("sweep", "--study", "faulty.toml", *options, at=at)


def lines_until(process: subprocess.Popen[str], wanted: str, count: int = 1) -> str:
    """What a process says until it has said something so often."""
    told = ""
    assert process.stderr is not None
    for line in process.stderr:
        told += line
        count -= wanted in line
        if count == 0:
            return told
    raise AssertionError(f"it ended with {process.wait()} and did not say {wanted!r}")


def children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_until(true: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.2)


def repeated(at: Path) -> list[int]:
    """The epochs that were trained again after an interruption."""
    trials = optuna.load_study(study_name="faulty/lens_flow", storage=f"sqlite:///{at}/optuna.db").get_trials()
    later = {trial.user_attrs["again"]: trial for trial in trials if "again" in trial.user_attrs}
    failed = [trial for trial in trials if trial.state == TrialState.FAIL]
    return [
        each for trial in failed for each in trial.intermediate_values.keys() & later[trial.number].intermediate_values
    ]


def check(at: Path, undisturbed: Results, *options: str, lost: bool = False) -> None:
    """Every training is there once, as where nothing happened; no epoch was trained again that a checkpoint had.

    Those since the checkpoint may have been where they were `lost`.
    """
    assert results(at, *options) == undisturbed
    assert not [epoch for epoch in repeated(at) if epoch <= CHECKPOINT or not lost]
    assert "nothing to mend" in call(at, "doctor", *options)
