"""A database is looked at before it is opened: what is none, or of others, is named, and stays as it is."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import optuna
import pytest

from orchestrator.errors import OrchestratorError, StudyError
from orchestrator.studies import doctor, overview, storage
from orchestrator.tracking import store

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store of each kind, and databases that are none."""
    folder, opened = tmp_path_factory.mktemp("made"), tmp_path_factory.mktemp("opened")
    store.connect(f"sqlite:///{opened}/mlflow.db")
    storage.connect(f"sqlite:///{opened}/optuna.db").engine.dispose()
    for name in ("mlflow.db", "optuna.db"):
        with closing(sqlite3.connect(opened / name)) as connection:
            connection.execute("VACUUM INTO ?", (str(folder / name),))  # that one is nobody's, and in one file
    for name, statements in {
        "mlflow.db": ["DROP TABLE inputs", "UPDATE alembic_version SET version_num = '451aebb31d03'"],
        "optuna.db": ["DROP TABLE trial_heartbeats", "UPDATE alembic_version SET version_num = 'v2.4.0.a'"],
    }.items():
        (folder / f"older-{name}").write_bytes((folder / name).read_bytes())
        with closing(sqlite3.connect(folder / f"older-{name}")) as connection:
            for statement in statements:
                connection.execute(statement)
            connection.commit()
    with closing(sqlite3.connect(folder / "people.db")) as connection:
        connection.execute("CREATE TABLE people (name)")
    (folder / "text.db").write_text("a shopping list, and a long one")
    (folder / "folder.db").mkdir()
    return folder


@pytest.mark.parametrize(
    ("opens", "name", "told"),
    [
        (store.connect, "optuna.db", "one of Optuna"),
        (store.connect, "people.db", "the tables people"),
        (store.connect, "text.db", "no SQLite database"),
        (store.connect, "folder.db", "a folder"),
        (store.connect, "older-mlflow.db", "mlflow db upgrade"),
        (storage.connect, "mlflow.db", "one of MLflow"),
        (storage.connect, "people.db", "the tables people"),
        (storage.connect, "text.db", "no SQLite database"),
        (storage.connect, "folder.db", "a folder"),
        (storage.connect, "older-optuna.db", "optuna storage upgrade"),
    ],
)
def test_what_is_no_such_store_is_named_and_left_as_it_is(
    made: Path, opens: Callable[[str], object], name: str, told: str
) -> None:
    def content() -> dict[str, bytes]:
        return {each.name: each.read_bytes() for each in made.iterdir() if each.is_file()}

    before = content()
    with pytest.raises(OrchestratorError, match=rf"{name}: cannot open this .*{told}"):
        opens(f"sqlite:///{made / name}")
    assert content() == before


def test_one_database_for_both_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(OrchestratorError, match="one database for both stores"):
        store.connect(f"sqlite:///{tmp_path}/x.db", f"sqlite:///{tmp_path}/../{tmp_path.name}/x.db")
    assert list(tmp_path.iterdir()) == []


def test_studies_of_others_in_the_storage_are_left_out(tmp_path: Path) -> None:
    opened = storage.connect(f"sqlite:///{tmp_path}/optuna.db")
    for name in ("theirs", "their/own"):
        theirs = optuna.create_study(study_name=name, storage=opened, directions=["minimize", "maximize"])
        theirs.add_trial(optuna.create_trial(values=[0.0, 1.0]))
        theirs.ask().set_user_attr("pid", "1")
    ours = optuna.create_study(study_name="tiny/lens_flow", storage=opened, direction="maximize")
    ours.set_user_attr("definition", {"maximise": "auc"})
    ours.add_trial(optuna.create_trial(value=0.5))
    assert [(each.study, each.architecture, each.best) for each in storage.states(opened)] == [
        ("tiny", "lens_flow", 0.5)
    ]
    assert list(overview.overview("their", opened)) == []
    assert list(doctor._trials(opened)) == []
    opened.engine.dispose()


THEIRS: dict[str, Callable[[optuna.Study], object]] = {
    "finished": lambda theirs: theirs.add_trial(optuna.create_trial(value=0.5)),
    "running": lambda theirs: theirs.ask(),
    "queued": lambda theirs: theirs.enqueue_trial({"x": 1}),
    "described": lambda theirs: theirs.set_user_attr("by", "them"),
}


@pytest.mark.parametrize("begin", THEIRS.values(), ids=THEIRS)
def test_a_study_of_others_by_the_name_of_ours_is_refused_and_left_as_it_is(
    begin: Callable[[optuna.Study], object], tmp_path: Path
) -> None:
    opened = storage.connect(f"sqlite:///{tmp_path}/optuna.db")
    theirs = optuna.create_study(study_name="tiny/lens_flow", storage=opened, direction="maximize")
    begin(theirs)
    before = [(each.state, each.system_attrs) for each in theirs.get_trials()], theirs.user_attrs
    told = r"optuna\.db: the Optuna study 'tiny/lens_flow' there is none of this program, and is left as it is; give"
    for queued in ([], [{"seed": 1}]):
        with pytest.raises(StudyError, match=told):
            storage.open_study("tiny/lens_flow", "maximize", opened, queued)
    assert ([(each.state, each.system_attrs) for each in theirs.get_trials()], theirs.user_attrs) == before
    optuna.create_study(study_name="tiny/other", storage=opened, direction="minimize")
    with pytest.raises(StudyError, match="'tiny/other' there is none of this program"):
        storage.open_study("tiny/other", "maximize", opened)
    opened.engine.dispose()


def test_a_study_of_ours_that_was_left_while_it_was_queued_goes_on(tmp_path: Path) -> None:
    opened = storage.connect(f"sqlite:///{tmp_path}/optuna.db")
    grid = [{"seed": 1, "rate": 0.1}, {"seed": 2, "rate": 0.1}]
    storage.open_study("tiny/lens_flow", "maximize", opened, grid).enqueue_trial(grid[1])
    again = storage.open_study("tiny/lens_flow", "maximize", opened, grid)
    assert [each.system_attrs["fixed_params"] for each in again.get_trials()] == grid[1:]
    opened.engine.dispose()


def test_a_look_ends_no_lock_that_this_process_has_on_the_database(tmp_path: Path) -> None:
    path = tmp_path / "optuna.db"
    storage.connect(f"sqlite:///{path}").engine.dispose()
    write = "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0).execute('BEGIN IMMEDIATE')"
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        storage.connect(f"sqlite:///{path}").engine.dispose()
        other = subprocess.run([sys.executable, "-c", write, str(path)], capture_output=True, text=True, check=False)
    assert "database is locked" in other.stderr
