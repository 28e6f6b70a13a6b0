"""The registry on a server that others use too, and what a process that was killed in it leaves behind."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import TrackingError
from orchestrator.reports.results import Row
from orchestrator.tracking import artifacts, records, registry, runs, store
from tests.cli.calling import Call, invoke
from tests.faults import COMMIT, Killed, watching

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blank: Path) -> None:
    """A store of its own, in a working directory of its own."""
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "mlflow.db").write_bytes(blank.read_bytes())
    store.connect()


@pytest.fixture(scope="module")
def blank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with nothing in it: making one takes seconds."""
    path = tmp_path_factory.mktemp("blank") / "mlflow.db"
    store.connect(f"sqlite:///{path}")
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


@pytest.fixture
def rows() -> list[Row]:
    """Three rows with a model each; that is no more than a file, since nothing here loads it."""
    return [_row(number) for number in range(3)]


def _row(number: int) -> Row:
    run_id = runs.begin(store.experiment("rows"), "row", f"row {number}", study="rows")
    runs.log_params(run_id, {"tested": "x", "model": "lens_flow", "epochs": str(number)})
    runs.log_tags(run_id, {"set": "space"})
    artifacts.log_files(run_id, {"MLmodel": b"flavors: {}\n"}, "model")
    runs.end(run_id, "FINISHED")
    return records.row(run_id)


def state() -> tuple[Any, ...]:
    """All that is to be the same as where nothing happened."""
    model = registry._model("lens-finder-space")
    kept = ("run_id", "model", "epochs", "by", "previous_champion", "study")
    made = [
        (each.version, each.aliases, {key: each.tags.get(key) for key in kept}, "rolled_back" in each.tags)
        for each in registry.versions("lens-finder-space")
    ]
    return made, dict(model.tags) if model else {}, registry._line("lens-finder-space")


def promote(row: Row) -> registry.Version:
    return registry.promote(row, {"study": "rows"}, registry.CHAMPION)


@pytest.mark.parametrize("mode", ["killed", "fails"])
@pytest.mark.parametrize("steps", ["first", "second", "again", "rollback", "rollback of one that was before"])
@pytest.mark.slow
def test_what_is_killed_or_fails_before_any_commit_ends_as_undisturbed_when_done_again(
    rows: list[Row], steps: str, mode: Any, tmp_path: Path
) -> None:
    before, last = {
        "first": ([], lambda: promote(rows[0])),
        "second": ([0], lambda: promote(rows[1])),
        "again": ([0, 1], lambda: promote(rows[0])),
        "rollback": ([0, 1], lambda: registry.rollback("space")),
        "rollback of one that was before": ([0, 1, 0], lambda: registry.rollback("space")),
    }[steps]
    for number in before:
        promote(rows[number])
    _checkpoint(tmp_path)
    kept = (tmp_path / "mlflow.db").read_bytes()
    with watching() as watch:
        last()
    expected, last_of_all = state(), len(watch.places) - 1
    commits = [number for number, place in enumerate(watch.places) if place[0].startswith(COMMIT)]
    assert len(commits) >= 3
    for at in sorted({*commits, last_of_all}):
        _checkpoint(tmp_path)
        _restore(tmp_path, kept)
        with pytest.raises((Killed, Exception)), watching(at, mode):  # noqa: PT012
            last()
            raise AssertionError("it was not disturbed")
        last()
        assert state() == expected, at


def _checkpoint(folder: Path) -> None:
    with sqlite3.connect(folder / "mlflow.db") as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _restore(folder: Path, content: bytes) -> None:
    """Put a database back by what SQLite offers for it: connections to it are open."""
    (folder / "kept.db").write_bytes(content)
    with sqlite3.connect(folder / "kept.db") as kept, sqlite3.connect(folder / "mlflow.db") as now:
        kept.backup(now)


def test_rollback_goes_back_champion_by_champion_one_that_was_before_too(rows: list[Row]) -> None:
    for number in (0, 1, 0, 2):
        promote(rows[number])
    found = [registry.rollback("space")[1].run_id for _ in range(3)]
    assert found == [rows[0].run_id, rows[1].run_id, rows[0].run_id]
    with pytest.raises(TrackingError, match="no champion before the present one"):
        registry.rollback("space")


def test_a_refused_promotion_leaves_no_version_behind(rows: list[Row]) -> None:
    with pytest.raises(Exception, match="v1"):
        registry.promote(rows[0], {}, "v1")  # MLflow keeps it for versions
    assert registry.versions() == []
    without = runs.begin(store.experiment("rows"), "row", "without", study="rows")
    runs.log_params(without, {"tested": "x", "model": "lens_flow"})
    runs.log_tags(without, {"set": "space"})
    with pytest.raises(TrackingError, match="its model cannot be registered"):
        promote(records.row(without))
    assert registry.versions() == []


@pytest.mark.slow
def test_a_champion_that_was_deleted_is_one_that_the_registry_does_not_tell_of_or_is_passed_over(
    rows: list[Row],
) -> None:
    for row in rows:
        promote(row)
    store.MlflowClient().delete_model_version("lens-finder-space", "2")
    assert registry.rollback("space")[1].version == 1
    promote(rows[2])
    store.MlflowClient().delete_model_version("lens-finder-space", "3")
    assert registry.champion("space") is None
    assert registry.rollback("space")[1].version == 1


@pytest.mark.slow
def test_120_models_of_others_hide_nothing_and_are_named(rows: list[Row], call: Call) -> None:
    client = store.MlflowClient()
    for number in range(120):
        client.create_registered_model(f"a-{number:03d}")
    client.create_model_version("a-000", "s3://elsewhere/model")
    promote(rows[0])
    client.create_model_version("lens-finder-space", "s3://elsewhere/finder")
    champion = registry.champion("space")
    assert champion is not None
    assert champion.run_id == rows[0].run_id
    promote(rows[1])
    client.delete_run(rows[1].run_id)
    with sqlite3.connect("mlflow.db") as connection:  # as a registry of another make leaves it
        connection.execute(
            "INSERT INTO registered_model_aliases (name, alias, version, workspace)"
            " SELECT name, 'lost', 9, workspace FROM registered_models WHERE name = 'lens-finder-space'"
        )
    told = call("registry", "list").stdout
    assert "lens-finder-space/3 @champion: lens_flow" in told
    assert "lens-finder-space/2: registered by others, from s3://elsewhere/finder" in told
    assert "lens-finder-space/1: lens_flow" in told
    assert "lens-finder-space/9 @lost: no such version, or one that was deleted" in told
    assert "as others have registered them: a-000" in told
    assert registry.rollback("space")[1].version == 1
    assert call("registry", "rollback", "--set", "space", expect=2).stderr.count("\n") == 1


@pytest.fixture
def call() -> Call:
    return invoke
