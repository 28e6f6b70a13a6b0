"""What is deployed: files that parse, scripts that shellcheck takes, and the very commands, run here."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from click import Context

from orchestrator.cli import main
from tests.cli.test_faults import ENVIRONMENT, call, folder, lines_until, results
from tests.conftest import ROOT

DEPLOY = ROOT / "deploy"
SCRIPTS = {script.stem: script for script in (DEPLOY / "slurm").glob("*.sbatch")}


def words_of(command: list[str]) -> list[str]:
    """The words after `orchestrator`, with made-up values for what the user has to say."""
    assert command[0] == "orchestrator"
    return [os.path.expandvars(word.partition(":?")[0] + ("}" if ":?" in word else "")) for word in command[1:]]


def test_the_job_and_the_services_start_a_command_that_there_is() -> None:
    job = yaml.safe_load((DEPLOY / "kubernetes" / "worker.yaml").read_text())
    services = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())["services"]
    (container,) = job["spec"]["template"]["spec"]["containers"]
    for command in (container["args"], services["worker"]["command"]):
        name, *options = words_of(command)
        parsed = main.commands[name].make_context(name, options, parent=Context(main))
        assert parsed.params["study"]
        assert parsed.params["storage"]
    assert {"database", "mlflow", "worker"} == set(services)
    assert (DEPLOY / "compose" / "databases.sql").exists()


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_shellcheck_finds_nothing_in_a_script(script: Path) -> None:
    shellcheck = shutil.which("shellcheck")
    if shellcheck is None:
        pytest.skip("no shellcheck on this machine (Debian's package shellcheck has it)")
    done = subprocess.run([shellcheck, str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.fixture
def submit(tmp_path: Path, small_space: Path) -> Callable[..., subprocess.Popen[str]]:
    """Run a script as Slurm would, in the folder `work`; of Slurm itself there is no more than the scripts call."""
    at, tools = folder(tmp_path / "work", small_space), tmp_path / "tools"
    tools.mkdir()
    commands = {
        "scontrol": f'echo "$@" >> {shlex.quote(str(tmp_path))}/requeued',
        "srun": 'while [ "${1#--}" != "$1" ]; do shift; done; exec "$@"',
    }
    for name, command in commands.items():
        (tools / name).write_text(f"#!/bin/sh\n{command}\n")
        (tools / name).chmod(0o755)
    environment = {
        **ENVIRONMENT,
        "PATH": f"{tools}{os.pathsep}{ENVIRONMENT['PATH']}",
        "PYTHONPATH": str(ROOT),
        "STUDY": "faulty.toml",
        "STORAGE": "sqlite:///optuna.db",
        "MLFLOW_TRACKING_URI": "sqlite:///mlflow.db",
        "SLURM_CPUS_PER_TASK": "1",
    }

    def run(name: str, **variables: str) -> subprocess.Popen[str]:
        command, given = ["bash", str(SCRIPTS[name])], {**environment, **variables}
        return subprocess.Popen(
            command, cwd=at, env=given, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        )

    return run


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_worker_script_works_requeues_itself_on_a_signal_and_goes_on(
    submit: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    array = {"SLURM_ARRAY_JOB_ID": "17", "SLURM_ARRAY_TASK_ID": "3"}
    _end(submit("worker", **array))
    assert (tmp_path / "requeued").read_text() == "requeue 17_3\n"
    job = submit("worker", **array)
    _, told = job.communicate(timeout=240)
    assert job.returncode == 0, told
    assert "trial 0  epoch 1 " not in told
    assert len(results(tmp_path / "work")) == 6
    assert "nothing to mend" in call(tmp_path / "work", "doctor")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_ray_script_works_on_two_nodes_requeues_itself_on_a_signal_and_leaves_nothing_running(
    submit: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    pytest.importorskip("ray", reason="ray, of the extra dev, is not installed")
    number = str(os.getpid())
    try:
        told = _end(submit("ray", SLURM_JOB_ID=number, SLURM_JOB_NUM_NODES="2"))
        assert (tmp_path / "requeued").read_text() == f"requeue {number}\n"
        assert len(set(re.findall(r"worker pid=\d+", told))) == 2
        assert "The same command goes on from here" in told
        assert _processes_of(f"/tmp/ray-{number}/") == []
        assert "nothing to mend" in call(tmp_path / "work", "doctor")
    finally:
        for process in _processes_of(f"/tmp/ray-{number}/"):
            os.kill(process, signal.SIGKILL)
        shutil.rmtree(f"/tmp/ray-{number}", ignore_errors=True)


def _end(job: subprocess.Popen[str]) -> str:
    """Send it the signal that Slurm sends before its time is up, as soon as it is well under way."""
    told = lines_until(job, "epoch 4")
    job.send_signal(signal.SIGTERM)
    told += job.communicate(timeout=120)[1]
    assert job.returncode == 0, told
    return told


def _processes_of(mark: str) -> list[int]:
    """Those that have it in their command line."""
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended
            if mark.encode() in each.read_bytes():
                found.append(int(each.parent.name))
    return found
