"""Sweeps on a real Ray cluster of two nodes, which loses one of them."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow import MlflowClient

from orchestrator.data import sources
from orchestrator.data.challenge import SPACE, scan
from orchestrator.reports import scorefile
from orchestrator.studies import cluster as studies_cluster
from orchestrator.studies import cluster_scoring, scoring
from orchestrator.tracking import models, store
from tests.cli.calling import Call
from tests.cli.faulty import call, check, folder, results, sweep
from tests.cli.test_score import scorer  # noqa: F401 - a fixture

cluster_utils = pytest.importorskip("ray.cluster_utils", reason="ray, of the extra dev, is not installed")

pytestmark = pytest.mark.filterwarnings("ignore")

CPU = torch.device("cpu")
NODE = {"num_cpus": 1, "num_gpus": 1, "object_store_memory": 80 * 2**20}
"""Ray believes in the GPU; PyTorch finds none, and trains on the processor."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_worker_niceness", "0")  # by default workers starve beside other tests
        started = cluster_utils.Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
        try:
            yield started
        finally:
            started.shutdown()


def until_two_are_at_it(driver: subprocess.Popen[str]) -> str:
    """What a sweep says until the trainings of two workers have passed their first epoch count."""
    told = ""
    assert driver.stderr is not None
    for line in driver.stderr:
        told += line
        if len(set(re.findall(r"worker pid=(\d+).*  epoch [3-9] ", told))) == 2:
            return told
    raise AssertionError(told)


@pytest.mark.slow
def test_what_a_lost_node_was_training_goes_on_elsewhere(cluster: Any, tmp_path: Path, small_space: Path) -> None:
    alone, at = (folder(tmp_path / name, small_space, epochs=30) for name in ("alone", "together"))
    call(alone, "sweep", "--study", "faulty.toml")
    second = cluster.add_node(**NODE)
    driver = sweep(at, "--engine", "ray", "--address", cluster.address, "--gpus-per-trial", "0.5")
    told = until_two_are_at_it(driver)
    cluster.remove_node(second, allow_graceful=False)
    table, rest = driver.communicate(timeout=240)
    told += rest
    assert driver.returncode == 0, told
    assert told.count("A worker is replaced: ") == 1
    assert "raylet" not in table + told
    assert told.count("  epoch 1 ") == 2  # none began anew
    check(at, results(alone), lost=True)
    client = MlflowClient(f"sqlite:///{at}/mlflow.db")
    runs = client.search_runs([each.experiment_id for each in client.search_experiments()])
    assert {run.info.status for run in runs} == {"FINISHED"}


@pytest.mark.slow
def test_a_scoring_that_loses_a_node_gives_the_file_of_one_machine(
    cluster: Any, scorer: tuple[Path, str], tiny_space: Path, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,  # noqa: F811, E501
) -> None:  # fmt: skip
    folder, model = scorer
    monkeypatch.chdir(folder)
    monkeypatch.setattr(scorefile, "PART", 64)
    paths = [str(each.paths[0]) for each in scan(tiny_space).objects]
    listed, one, many = tmp_path / "list.txt", tmp_path / "one.csv", tmp_path / "many.csv"
    listed.write_text("\n".join([*paths * 10, "gone.fits"]))
    call("score", "--model", model, "--data", str(listed), "--out", str(one))

    uri = store.connect(f"sqlite:///{folder}/mlflow.db")
    loaded, source, told = models.load(model, CPU), sources.find(listed, SPACE), []
    kept = scoring.parts(loaded, source, CPU, many, {})
    order = cluster_scoring.Order(model, uri, listed, (), False, None, (loaded.digest, source.digest()))
    second = cluster.add_node(**NODE)
    write = scorefile.Parts.write

    def slowly(*part: Any) -> None:  # so that the loss is known before the other node has done all that is left
        time.sleep(1.5)
        write(*part)

    monkeypatch.setattr(scorefile.Parts, "write", slowly)
    with studies_cluster.connected(cluster.address) as nodes, kept.opened(False, False):
        progress = cluster_scoring.score(order, studies_cluster.share_out(nodes, None, None), kept, told.append)
        assert [next(progress), next(progress)] == [0, 64]
        cluster.remove_node(second, allow_graceful=False)
        assert list(progress)[-1] == 401
        assert kept.finish().bad == 1
    assert all("A scorer is replaced: " in line for line in told)  # none where it had not begun there
    assert many.read_bytes() == one.read_bytes()


@pytest.mark.slow
def test_what_the_cluster_cannot_do_is_refused(cluster: Any, tmp_path: Path, small_space: Path) -> None:
    refused = sweep(
        folder(tmp_path, small_space), "--engine", "ray", "--address", cluster.address, "--gpus-per-trial", "2"
    )
    _, told = refused.communicate(timeout=60)
    assert refused.returncode == 2
    assert told.splitlines()[-1].startswith("Error: --gpus-per-trial 2: no node has as many")
    assert len(told.splitlines()) == 1
    assert not (tmp_path / "optuna.db").exists()


@pytest.mark.slow
def test_a_cluster_that_does_not_answer_is_named(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = call("sweep", "--study", "quickstart", "--engine", "ray", "--address", "127.0.0.1:1", expect=2)
    assert result.stderr == "Error: --address 127.0.0.1:1: no Ray cluster answers there within 10 s\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", ["--address", "--gpus-per-trial"])
def test_options_of_ray_are_for_ray(option: str, call: Call) -> None:
    result = call("sweep", "--study", "quickstart", option, "1", expect=2)
    assert f"Error: {option} is of Ray (allowed with --engine ray)" in result.stderr
