"""What is deployed: files that parse, scripts that shellcheck takes, and the very commands, run here."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click import Context

from orchestrator.cli import main
from tests.cli.test_faults import ENVIRONMENT, call, folder, lines_until, results
from tests.conftest import ROOT

DEPLOY = ROOT / "deploy"
SBATCH = DEPLOY / "slurm" / "worker.sbatch"


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


def test_shellcheck_finds_nothing_in_the_script() -> None:
    shellcheck = shutil.which("shellcheck")
    if shellcheck is None:
        pytest.skip("no shellcheck on this machine (Debian's package shellcheck has it)")
    done = subprocess.run([shellcheck, str(SBATCH)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_slurm_script_works_requeues_itself_on_a_signal_and_goes_on(tmp_path: Path, small_space: Path) -> None:
    at = folder(tmp_path / "work", small_space)
    tools = tmp_path / "tools"
    tools.mkdir()
    scontrol = tools / "scontrol"  # the only part of Slurm that the script calls
    scontrol.write_text(f'#!/bin/sh\necho "$@" >> {shlex.quote(str(tmp_path))}/requeued\n')
    scontrol.chmod(0o755)
    environment = {
        **ENVIRONMENT,
        "PATH": f"{tools}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "STUDY": "faulty.toml",
        "STORAGE": "sqlite:///optuna.db",
        "MLFLOW_TRACKING_URI": "sqlite:///mlflow.db",
        "SLURM_CPUS_PER_TASK": "1",
        "SLURM_ARRAY_JOB_ID": "17",
        "SLURM_ARRAY_TASK_ID": "3",
    }

    def submit() -> subprocess.Popen[str]:
        return subprocess.Popen(["bash", str(SBATCH)], cwd=at, env=environment, stderr=subprocess.PIPE, text=True)

    job = submit()
    lines_until(job, "epoch 4")
    job.send_signal(signal.SIGTERM)
    job.communicate(timeout=60)
    assert job.returncode == 0
    assert (tmp_path / "requeued").read_text() == "requeue 17_3\n"
    job = submit()
    _, told = job.communicate(timeout=240)
    assert job.returncode == 0, told
    assert "trial 0  epoch 1 " not in told
    assert len(results(at)) == 6
    assert "nothing to mend" in call(at, "doctor")
