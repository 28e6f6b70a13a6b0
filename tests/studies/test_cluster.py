"""Sharing out a cluster, and what a worker leaves that died on another machine."""

from __future__ import annotations

import platform
import sys

import pytest
from optuna.trial import TrialState

from orchestrator.errors import StudyError
from orchestrator.studies import cluster, doctor, storage
from orchestrator.studies import sweep as sweeps
from orchestrator.studies.bench import Bench
from orchestrator.studies.cluster import Node, Share, refuse_sqlite, share_out
from orchestrator.tracking import records, runs
from tests.studies.conftest import study

HERE = platform.node()
GPUS = [Node("a", cpus=16, gpus=2), Node("b", cpus=16, gpus=2)]
NONE = [Node("a", cpus=4, gpus=0), Node("b", cpus=2, gpus=0)]


@pytest.mark.parametrize(
    ("nodes", "tasks", "gpus", "expected"),
    [
        (GPUS, None, None, Share(4, 8, 1)),
        (GPUS, None, 0.5, Share(8, 4, 0.5)),
        (GPUS, None, 0.3, Share(12, 2, 0.3)),  # three to a GPU; what is left of two GPUs does not add up
        (GPUS, None, 2.0, Share(2, 16, 2)),
        (GPUS, 2, 0.5, Share(2, 16, 0.5)),
        (GPUS, 100, 1.0, Share(100, 1, 1)),  # they wait for each other
        (GPUS, None, 0.0, Share(32, 1, 0)),
        (NONE, None, None, Share(6, 1, 0)),
        (NONE, 3, None, Share(3, 2, 0)),
        (NONE, 1, None, Share(1, 4, 0)),
    ],
)
def test_tasks_get_all_processors_that_leave_room_for_the_others(
    nodes: list[Node], tasks: int | None, gpus: float | None, expected: Share
) -> None:
    assert share_out(nodes, tasks, gpus) == expected


def test_what_no_node_has_is_refused_with_what_there_is() -> None:
    with pytest.raises(StudyError, match=r"--gpus-per-trial 4: .*a: 2 GPUs, 16 CPUs; b: 2 GPUs, 16 CPUs"):
        share_out(GPUS, None, 4.0)
    with pytest.raises(StudyError, match=r"--gpus-per-trial 0\.5: .*a: 0 GPUs, 4 CPUs"):
        share_out(NONE, 2, 0.5)
    with pytest.raises(StudyError, match=r"--gpus-per-trial 1\.5: a share of one GPU"):
        share_out(GPUS, None, 1.5)


def test_sqlite_is_refused_where_nodes_are_on_other_machines() -> None:
    refuse_sqlite([Node(HERE, 1, 0)] * 2, "sqlite:///optuna.db", "sqlite:////x/mlflow.db")
    both = [Node(HERE, 1, 0), Node("elsewhere", 1, 0)]
    refuse_sqlite(both, "postgresql://someone@there/optuna", "http://there:5000")
    with pytest.raises(StudyError, match=r"^sqlite:///optuna\.db: .* on elsewhere too \(allowed: --storage postgresql"):
        refuse_sqlite(both, "sqlite:///optuna.db", "http://there:5000")
    with pytest.raises(StudyError, match=r"^sqlite:////x/mlflow\.db: "):
        refuse_sqlite(both, "postgresql://someone@there/optuna", "sqlite:////x/mlflow.db")


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # as where it is not installed
    with pytest.raises(StudyError, match=r"lens-orchestrator\[ray\]"), cluster.connected("auto"):
        pass


@pytest.mark.filterwarnings("ignore")
@pytest.mark.slow
def test_what_a_worker_left_that_died_on_another_machine_is_given_back(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, trials = study(vary={"seed": {"choices": [1, 2, 3]}}, fixed={}), storage.connect()
    searched = sweeps.opened(asked, trials, bench)["lens_flow"]
    begun = {}
    for name in ("dead", "alive"):
        monkeypatch.setenv("ORCHESTRATOR_WORKER", name)
        process = {**runs.process(), "host": "elsewhere"}
        trial = searched.ask()
        for key, value in process.items():
            trial.set_user_attr(key, value)
        training, row = (
            runs.begin(bench.experiment, kind, f"{kind} {name}", study="small") for kind in ("trial", "row")
        )
        for run_id in (training, row):
            runs.log_tags(run_id, process)
        begun[name] = (training, row)
    for _ in range(2):  # again, it finds nothing to do
        doctor.reap(trials, ["dead"])
    assert [each.state for each in searched.get_trials()] == [
        *(TrialState.FAIL, TrialState.RUNNING, TrialState.WAITING, TrialState.WAITING)
    ]
    left, again = (searched.get_trials()[number].system_attrs["fixed_params"] for number in (0, 3))
    assert again == left != {}
    assert {run.run_id for run in records.unfinished()} == set(begun["alive"])
    assert records.exists(begun["dead"][0])
    assert not records.exists(begun["dead"][1])
