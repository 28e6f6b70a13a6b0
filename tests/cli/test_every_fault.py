"""Each command is disturbed where it writes, place by place; given again, it ends as if nothing had happened.

It takes long, and is run by name: with `EVERY_FAULT=20` one place in twenty is disturbed, with `EVERY_FAULT=1` each.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import pytest
from click.testing import CliRunner, Result
from mlflow import MlflowClient

from orchestrator.cli import STOPPED, main
from orchestrator.data.challenge import SPACE
from orchestrator.data.simulation import simulate
from orchestrator.errors import AWAY
from tests.cli.calling import NO_STORE_OF_THE_USER, invoke
from tests.faults import Killed, Mode, each_place, watching

EVERY = int(os.environ.get("EVERY_FAULT", "0"))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(not EVERY, reason="takes long: EVERY_FAULT=20 disturbs one place in twenty"),
]

STUDY = """
data = "{data}"
architectures = ["lens_flow"]
epochs = [1, 2]
[fixed]
batch_size = 16
normalisation = "none"
[vary]
seed = {{ choices = [1] }}
"""
EXACT = ("auc", "tpr", "fpr", "tpr0", "tpr10", "val_auc", "val_loss", "loss")

SWEEP = ("sweep", "--study", "faulty.toml")
TRAINED = ("train", "--model", "lens_flow", "--normalisation", "none", "--batch-size", "16", "--data", "{data}")
FIRST = (*TRAINED, "--epochs", "1", "--seed", "1")
TRAIN = (*TRAINED, "--epochs", "1,2")
FORCE = ("--force", "for the test")
CHAMPION = "models:/lens-finder-space@champion"


@dataclass(frozen=True)
class Verb:
    """A command, and what has to be done before it; `{first}` and `{row}` are rows of the trainings before."""

    name: str
    command: tuple[str, ...]
    before: tuple[tuple[str, ...], ...] = ()


VERBS = (
    Verb("sweep", SWEEP),
    Verb("train", TRAIN),
    Verb("extend", ("extend", "{row}", "--to", "3"), (TRAIN,)),
    Verb("promote", ("registry", "promote", "{row}"), (TRAIN,)),
    Verb("promote-over", ("registry", "promote", "{row}", *FORCE), (FIRST, ("registry", "promote", "{first}"), TRAIN)),
    Verb(
        "rollback",
        ("registry", "rollback", "--set", "space"),
        (FIRST, ("registry", "promote", "{first}"), TRAIN, ("registry", "promote", "{row}", *FORCE)),
    ),
    Verb(
        "ensemble",
        ("ensemble", "--study", "train-space", "--top", "1", "--orientations", "--register"),
        (TRAIN,),
    ),
    Verb(
        "calibrate",
        ("calibrate", "--model", CHAMPION, "--data", "{other}", "--register"),
        (TRAIN, ("registry", "promote", "{row}")),
    ),
    Verb(
        "evaluate",
        ("evaluate", "--model", CHAMPION, "--data", "{data}", "--out", "scores.csv"),
        (TRAIN, ("registry", "promote", "{row}")),
    ),
    Verb(
        "score",
        ("score", "--model", CHAMPION, "--data", "{data}", "--out", "scores.parquet", "--top", "3", "--resume"),
        (TRAIN, ("registry", "promote", "{row}")),
    ),
    Verb("report", ("report", "--study", "train-space"), (TRAIN,)),
)


@pytest.fixture(scope="module")
def other_space(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set that no network was trained on."""
    folder = tmp_path_factory.mktemp("other") / "set"
    for _ in simulate(folder, SPACE, 260, seed=8, difficulty=-2.0, workers=1):
        pass
    return folder


@pytest.fixture(scope="module", params=VERBS, ids=lambda verb: verb.name)
def begun(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tiny_space: Path, other_space: Path
) -> tuple[Path, list[str]]:
    """A working directory in which a command is to be given, and the command."""
    at, verb = tmp_path_factory.mktemp("begun"), request.param
    (at / "faulty.toml").write_text(STUDY.format(data=tiny_space))
    names = {"data": str(tiny_space), "other": str(other_space)}
    with contextlib.chdir(at):
        invoke("doctor")  # makes both stores
        for command in verb.before:
            invoke(*(word.format(**names) for word in command))
            if command[0] == "train":
                for row in rows("train-space"):
                    names["row" if row["epochs"] == 2 else "first"] = row["run_id"]
        return at, [word.format(**names) for word in verb.command]


def rows(study: str) -> list[dict[str, Any]]:
    return list(json.loads(invoke("table", "--study", study, "--format", "json").stdout))


def state(at: Path) -> dict[str, Any]:
    """What is recorded in a folder, but for times and identifiers."""
    with contextlib.chdir(at):
        client = MlflowClient()
        runs = client.search_runs([each.experiment_id for each in client.search_experiments()])
        kinds = Counter((run.data.tags.get("kind"), run.info.status) for run in runs)
        studies = {run.data.tags["study"] for run in runs if run.data.tags.get("kind") == "row"}
        table = [row for study in sorted(studies) for row in rows(study)]
        models = client.search_registered_models()
        versions = client.search_model_versions()
        doctor = CliRunner(env=NO_STORE_OF_THE_USER).invoke(main, ["doctor"]).stdout
    told = {"forced", "model", "epochs", "study", "previous_champion"}
    return {
        "rows": sorted((row["model"], row["seed"], row["epochs"], *(row.get(name) for name in EXACT)) for row in table),
        "runs": {kind: kinds[kind, "FINISHED"] for kind in ("study", "trial", "row", "ensemble")},
        "running": kinds[None, "RUNNING"] + sum(count for (_, status), count in kinds.items() if status == "RUNNING"),
        "champions": [(model.tags, model.aliases) for model in models],
        "versions": sorted(
            (each.version, sorted(item for item in each.tags.items() if item[0] in told)) for each in versions
        ),
        "doctor": doctor,
        "checkpoints": [str(path) for path in at.rglob("*.pt*") if "checkpoints" in path.parts],
        "halves": [str(path) for path in at.rglob("*.partial*")],
        "made": sorted(path.name for path in at.glob("scores*")) + sorted(path.name for path in at.glob("*.html")),
    }


def give(at: Path, command: Sequence[str]) -> Result:
    with contextlib.chdir(at):
        return CliRunner(env=NO_STORE_OF_THE_USER).invoke(main, list(command))


def disturbed(at: Path, command: Sequence[str], place: int, mode: Mode) -> Result | None:
    """Give a command that is disturbed at a place; None where its process was ended."""
    try:
        with watching(place, mode):
            return give(at, command)
    except Killed:
        return None
    finally:
        gc.collect()  # closes what a process that ends closes


def problems(at: Path, command: Sequence[str], place: int, mode: Mode, undisturbed: dict[str, Any]) -> list[str]:
    """What is not as it has to be, once the command was given again."""
    result = disturbed(at, command, place, mode)
    expected = (STOPPED,) if mode == "stopped" else (0, AWAY)
    found = []
    if result is not None and result.exit_code not in expected:
        found.append(f"exit {result.exit_code}: {result.output[-300:]} {result.exception!r}")
    if result is None or result.exit_code != 0:
        again = give(at, command)
        if again.exit_code != 0:
            return [*found, f"given again: exit {again.exit_code}: {again.output[-300:]} {again.exception!r}"]
    now = state(at)
    return [*found, *(f"{key}: {now[key]} != {undisturbed[key]}" for key in now if now[key] != undisturbed[key])]


@pytest.mark.parametrize("mode", get_args(Mode))
def test_a_command_that_was_disturbed_ends_as_if_nothing_had_happened(
    begun: tuple[Path, list[str]], mode: Mode, tmp_path: Path
) -> None:
    template, command = begun
    at = Path(shutil.copytree(template, tmp_path / "undisturbed"))
    with watching() as watch:
        result = give(at, command)
    assert result.exit_code == 0, result.output
    undisturbed, found = state(at), []
    assert "nothing to mend" in undisturbed["doctor"]
    for place in each_place(watch.places)[::EVERY]:
        at = Path(shutil.copytree(template, tmp_path / str(place)))
        found += [
            f"{place} {' '.join(watch.places[place])}: {each}"
            for each in problems(at, command, place, mode, undisturbed)
        ]
        shutil.rmtree(at)
    assert not found, "\n".join(found)
