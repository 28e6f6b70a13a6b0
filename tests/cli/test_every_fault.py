"""Each command is disturbed where it writes or reads, place by place; given again, it ends as if nothing had happened.

By default at one place, for a fifth of all pairs of command and mode. With `EVERY_FAULT=20` at one place in twenty,
with `EVERY_FAULT=20:7` at one in twenty from the seventh on, and with `EVERY_FAULT=1` at each, which takes hours.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
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
from tests.cli.faulty import EXACT, repeated
from tests.faults import READ, Killed, Mode, Watch, each_place, watching

EVERY, _, OFFSET = os.environ.get("EVERY_FAULT", "").partition(":")

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

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
CHECKPOINT = 1
"""The epoch count at which a checkpoint is written before the last."""

SWEEP = ("sweep", "--study", "faulty.toml")
TRAINED = ("train", "--model", "lens_flow", "--normalisation", "none", "--batch-size", "16", "--data", "{data}")
FIRST = (*TRAINED, "--epochs", "1", "--hyperparameter", "hidden=8")
TRAIN = (*TRAINED, "--epochs", "1,2")
FORCE = ("--force", "for the test")
CHAMPION = "models:/lens-finder-space@champion"


STEPS = (FIRST, ("registry", "promote", "{first}"), TRAIN, ("registry", "promote", "{row}", *FORCE))
"""What is done before, one after the other; `{first}` and `{row}` are rows of the trainings."""


@dataclass(frozen=True)
class Verb:
    """A command, and how many of the steps are done before it."""

    name: str
    after: int
    command: tuple[str, ...]


@dataclass(frozen=True)
class Begun:
    """A command, the folder to copy and to give it in, and what it wrote and left where nothing happened."""

    verb: Verb
    template: Path
    command: list[str]
    watch: Watch
    undisturbed: dict[str, Any]


VERBS = (
    Verb("sweep", 0, SWEEP),
    Verb("train", 0, TRAIN),
    Verb("extend", 3, ("extend", "{row}", "--to", "3")),
    Verb("promote", 1, STEPS[1]),
    Verb("promote-over", 3, STEPS[3]),
    Verb("rollback", 4, ("registry", "rollback", "--set", "space")),
    Verb("ensemble", 3, ("ensemble", "--study", "train-space", "--top", "2", "--register")),
    Verb("calibrate", 3, ("calibrate", "--model", CHAMPION, "--data", "{other}", "--register")),
    Verb("evaluate", 3, ("evaluate", "--model", CHAMPION, "--data", "{data}", "--out", "scores.csv")),
    Verb(
        "score",
        3,
        ("score", "--model", CHAMPION, "--data", "{data}", "--out", "scores.parquet", "--top", "3", "--resume"),
    ),
    Verb("report", 3, ("report", "--study", "train-space")),
)


@pytest.fixture(scope="module")
def other_space(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set that no network was trained on, of a size that is read by one process."""
    folder = tmp_path_factory.mktemp("other") / "set"
    for _ in simulate(folder, SPACE, 240, seed=8, difficulty=-2.0, workers=1):
        pass
    return folder


@pytest.fixture(scope="module")
def prepared(
    tmp_path_factory: pytest.TempPathFactory, tiny_space: Path, other_space: Path
) -> Callable[[int], tuple[Path, dict[str, str]]]:
    """Gives a folder in which so many of the steps are done, and the names in it; not to be written to."""

    @functools.cache
    def after(done: int) -> tuple[Path, dict[str, str]]:
        at = tmp_path_factory.mktemp("begun") / "folder"
        if not done:
            at.mkdir()
            (at / "faulty.toml").write_text(STUDY.format(data=tiny_space))
            with contextlib.chdir(at):
                invoke("doctor")  # makes both stores
            return at, {"data": str(tiny_space), "other": str(other_space)}
        before, names = after(done - 1)
        shutil.copytree(before, at)
        with contextlib.chdir(at):
            invoke(*(word.format(**names) for word in STEPS[done - 1]))
            if STEPS[done - 1][0] == "train":
                found = {"first" if row["epochs"] == 1 else "row": row["run_id"] for row in rows("train-space")}
                names = found | names
        return at, names

    return after


@pytest.fixture(scope="module")
def begun(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, prepared: Callable[[int], Any]
) -> Begun:
    """A command that is to be given, and what it does where nothing happens."""
    verb = request.param
    template, names = prepared(verb.after)
    command = [word.format(**names) for word in verb.command]
    at = Path(shutil.copytree(template, tmp_path_factory.mktemp("undisturbed") / "folder"))
    with watching() as watch:
        result = give(at, command)
    assert result.exit_code == 0, result.output
    undisturbed = state(at)
    assert "nothing to mend" in undisturbed["doctor"]
    return Begun(verb, template, command, watch, undisturbed)


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
        "again": [epoch for epoch in repeated(at) if epoch <= CHECKPOINT] if "faulty" in studies else [],
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


def chosen(begun: Begun, mode: Mode) -> list[int]:
    """Where to disturb: by default at one place, of another kind for each command and mode."""
    places = begun.watch.places
    among = [place for place in each_place(places) if (places[place][0] == READ) == (mode == "unread")]
    if EVERY:
        return among[int(OFFSET or 0) % int(EVERY) :: int(EVERY)]
    kinds = sorted({places[place][0] for place in among})
    kind = kinds[(VERBS.index(begun.verb) + get_args(Mode).index(mode)) % len(kinds)]
    alike = [place for place in among if places[place][0] == kind]
    return [alike[len(alike) // 2]]


PAIRS = [
    pytest.param(verb, mode, id=f"{verb.name}-{mode}")
    for number, verb in enumerate(VERBS)
    for other, mode in enumerate(get_args(Mode))
    if EVERY or (number + other) % 5 == 0
]


@pytest.mark.parametrize(("begun", "mode"), PAIRS, indirect=["begun"])
def test_a_command_that_was_disturbed_ends_as_if_nothing_had_happened(begun: Begun, mode: Mode, tmp_path: Path) -> None:
    found = []
    for place in chosen(begun, mode):
        at = Path(shutil.copytree(begun.template, tmp_path / str(place)))
        where = f"{place} {' '.join(begun.watch.places[place])}"
        found += [f"{where}: {each}" for each in problems(at, begun.command, place, mode, begun.undisturbed)]
        shutil.rmtree(at)
    assert not found, "\n".join(found)
