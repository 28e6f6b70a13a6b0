"""From rows to the champion, through the gate and back: on real stores."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from orchestrator.data.cutouts import Objects
from orchestrator.reports.results import Row
from orchestrator.tracking import artifacts, records, registry, store
from tests.cli.calling import NO_STORE_OF_THE_USER, Call

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def ranked(swept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Row]:
    """The rows of the finished study, the best of the test set first, in a store with a registry of its own."""
    for suffix in ("", "-wal"):
        if (swept / f"mlflow.db{suffix}").exists():
            shutil.copy(swept / f"mlflow.db{suffix}", tmp_path / f"mlflow.db{suffix}")
    monkeypatch.chdir(tmp_path)
    for name in NO_STORE_OF_THE_USER:
        monkeypatch.delenv(name, raising=False)
    store.connect()
    for model in MlflowClient().search_registered_models():
        MlflowClient().delete_registered_model(model.name)
    return sorted(records.rows("tiny"), key=lambda row: -row.metrics["auc"])


def champion() -> registry.Version:
    found = registry.champion("space")
    assert found is not None
    return found


def test_the_best_row_becomes_the_first_champion_and_stays_it(ranked: list[Row], call: Call) -> None:
    told = call("registry", "promote", "--study", "tiny").stdout
    assert "lens-finder-space@champion is version 1" in told
    best = registry.best_row("tiny", "val_auc")
    assert best.metrics["val_auc"] == max(row.metrics["val_auc"] for row in ranked)
    assert champion().run_id == best.run_id
    again = call("registry", "promote", "--study", "tiny").stdout
    assert "is already version 1" in again
    listed = call("registry", "list").stdout
    assert f"auc {best.metrics['auc']:.4f} (" in listed
    assert "study tiny" in listed


def test_what_is_not_better_beyond_noise_is_refused_and_the_decision_is_a_page(ranked: list[Row], call: Call) -> None:
    call("registry", "promote", ranked[0].run_id)
    refused = call("registry", "promote", ranked[1].run_id, expect=2).stderr
    assert "auc better beyond noise: no" in refused
    assert champion().run_id == ranked[0].run_id
    decision = refused.split("the decision is run ")[1].split(")")[0]
    run = MlflowClient().get_run(decision)
    assert (run.data.tags["kind"], run.data.tags["verdict"]) == ("promotion", "refused")
    page = artifacts.text(decision, "verdict.html")
    assert "auc better beyond noise" in page
    assert 'data-figure="roc"' in page
    stated = call("registry", "gate", ranked[1].run_id, "--against", "models:/lens-finder-space@champion", expect=1)
    assert "auc better beyond noise" in stated.stdout


def test_a_reason_promotes_it_anyway_and_rollback_goes_back_champion_by_champion(ranked: list[Row], call: Call) -> None:
    for row in ranked[:3]:
        call("registry", "promote", row.run_id, "--force", "for the test")
    third = champion()
    assert (third.run_id, third.tags["previous_champion"]) == (ranked[2].run_id, "2")
    assert third.tags["forced"] == "for the test"
    call("registry", "rollback", "--set", "space")
    assert champion().run_id == ranked[1].run_id
    call("registry", "rollback", "--set", "space")
    assert champion().run_id == ranked[0].run_id
    told = call("registry", "rollback", "--set", "space", expect=2).stderr
    assert "no champion before the present one" in told
    assert "rolled back" in call("registry", "list").stdout


def test_a_champion_that_cannot_be_loaded_is_told_and_takes_a_reason(ranked: list[Row], call: Call) -> None:
    client = MlflowClient()
    client.create_registered_model("lens-finder-space")
    client.create_model_version("lens-finder-space", Path("nowhere").absolute().as_uri())
    client.set_registered_model_alias("lens-finder-space", "champion", "1")
    told = call("registry", "gate", ranked[0].run_id, expect=1).stdout
    assert "compared with the champion NO" in " ".join(told.split())
    refused = call("registry", "promote", ranked[0].run_id, expect=2).stderr
    assert "compared with the champion: no" in refused
    assert champion().version == 1
    call("registry", "promote", ranked[0].run_id, "--force", "nobody can load the other")
    assert champion().run_id == ranked[0].run_id


def test_another_alias_is_free(ranked: list[Row], call: Call) -> None:
    call("registry", "promote", ranked[0].run_id)
    call("registry", "promote", ranked[1].run_id, "--to", "challenger")
    assert champion().run_id == ranked[0].run_id
    assert registry.find("models:/lens-finder-space@challenger").run_id == ranked[1].run_id


def test_the_gate_file_sets_the_conditions(ranked: list[Row], call: Call) -> None:
    call("registry", "promote", ranked[0].run_id)
    Path("gate.toml").write_text("times_slower = 1e-6\n")
    assert "fast enough beside the champion: no" in call("registry", "promote", ranked[1].run_id, expect=2).stderr
    Path("gate.toml").write_text("slower = 2\n")
    assert "gate.toml: slower: " in call("registry", "promote", ranked[1].run_id, expect=2).stderr


def test_what_was_tested_on_its_own_training_images_is_refused(ranked: list[Row], call: Call) -> None:
    row = ranked[0]
    tested = artifacts.objects(row.run_id, "tested_on.npz")
    trained = artifacts.objects(row.run_id, "trained_on.npz")
    assert tested is not None
    assert trained is not None
    assert not np.isin(tested.content, trained.content).any()
    spoilt = Objects(trained.ids, np.concatenate([tested.content[:3], trained.content[3:]]))
    artifacts.log_objects(row.run_id, "trained_on.npz", spoilt)
    try:
        refused = call("registry", "promote", row.run_id, expect=2).stderr
        assert f"tested on unseen objects: no, 3 of {len(tested.ids)} were seen in training" in refused
    finally:
        artifacts.log_objects(row.run_id, "trained_on.npz", trained)


def test_on_another_set_what_either_was_trained_on_is_left_out(
    ranked: list[Row], call: Call, small_space: Path
) -> None:
    call("registry", "promote", ranked[0].run_id)
    told = call("registry", "gate", ranked[1].run_id, "--data", str(small_space), expect=1).stdout
    trained = artifacts.objects(ranked[0].run_id, "trained_on.npz")
    assert trained is not None
    assert f"{len(trained.ids)} left out" in " ".join(told.split())


def test_two_promotions_at_once_come_one_after_the_other(ranked: list[Row]) -> None:
    command = [sys.executable, "-m", "orchestrator", "registry", "promote"]
    both = [subprocess.Popen([*command, row.run_id, "--force", "race"]) for row in ranked[:2]]
    assert [each.wait() for each in both] == [0, 0]
    (last,) = [each for each in registry.versions() if "champion" in each.aliases]
    assert last.tags["previous_champion"] == ("1" if last.version == 2 else "2")
    assert len(registry.versions()) == 2


def test_what_cannot_be_promoted_is_told_in_one_line(ranked: list[Row], call: Call) -> None:
    assert "one of the two" in call("registry", "promote", expect=2).stderr
    assert "no such run" in call("registry", "promote", "0" * 32, expect=2).stderr
    told = call("registry", "gate", ranked[0].run_id, "--against", "models:/lens-finder-space@none", expect=2).stderr
    assert "no such registered model (registered: none)" in told
