"""What is deployed: files that parse, scripts that shellcheck takes, and the very commands, run here."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml
from click import Context

from orchestrator.cli import main
from tests.cli.test_faults import ENVIRONMENT, call, folder, lines_until, results
from tests.conftest import ROOT

DEPLOY = ROOT / "deploy"
SBATCH = DEPLOY / "slurm" / "worker.sbatch"
COMPOSE = DEPLOY / "compose" / "compose.yaml"

PASSWORD = "made up for this test"


def test_the_job_and_the_services_start_a_command_that_there_is() -> None:
    job = yaml.safe_load((DEPLOY / "kubernetes" / "worker.yaml").read_text())
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    (container,) = job["spec"]["template"]["spec"]["containers"]
    for command in (container["args"], services["worker"]["command"], services["scores"]["command"]):
        assert command[0] == "orchestrator"
        name, *options = command[1:]
        main.commands[name].make_context(name, options, parent=Context(main))
    assert {"database", "mlflow", "worker", "scores"} == set(services)
    assert "PGPASSWORD" not in services["scores"]["environment"]
    for service in services.values():
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            assert not source.startswith(".") or (COMPOSE.parent / source).is_file(), source


def test_no_secret_has_a_default() -> None:
    text = COMPOSE.read_text() + (COMPOSE.parent / "auth.ini").read_text()
    secrets = re.findall(r"\$\{(\w*(?:PASSWORD|SECRET)\w*)(?::([-?])([^}]*))?\}", text)
    assert {name for name, _, _ in secrets} == {"DATABASE_PASSWORD", "ADMIN_PASSWORD", "SECRET_KEY", "ACCOUNT_PASSWORD"}
    assert {value for _, sign, value in secrets if sign == "-"} <= {""}
    assert {name for name, sign, _ in secrets if sign == "?"} == {"DATABASE_PASSWORD", "ADMIN_PASSWORD", "SECRET_KEY"}


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the very MLflow server of the compose file, on this machine and on SQLite."""
    pytest.importorskip("flask_wtf", reason="Flask-WTF, of the extra dev, is not installed")
    folder = tmp_path_factory.mktemp("team")
    service = yaml.safe_load(COMPOSE.read_text())["services"]["mlflow"]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    ini = folder / "auth.ini"
    accounts = (COMPOSE.parent / "auth.ini").read_text()
    ini.write_text(accounts.replace("postgresql://postgres@database/accounts", f"sqlite:///{folder}/accounts.db"))
    here = {
        "0.0.0.0": "127.0.0.1",
        "postgresql://postgres@database/mlflow": f"sqlite:///{folder}/mlflow.db",
        "/study": str(folder),
        "/etc/mlflow/auth.ini": str(ini),
        "5000": port,
        "${DATABASE_PASSWORD}": "",
        "${TEAM_HOST:-localhost}": "mlflow.example.org",
    }

    def on_this_machine(text: str) -> str:
        for there, replaced in here.items():
            text = text.replace(there, replaced)
        return re.sub(r"\$\{[A-Z_]+:\?[^}]*\}", PASSWORD, text)

    command = [sys.executable, "-m", *map(on_this_machine, service["command"]), "--workers=1"]
    environment = {**ENVIRONMENT, **{key: on_this_machine(value) for key, value in service["environment"].items()}}
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            try:
                httpx.get(f"{address}/health").raise_for_status()
                break
            except httpx.HTTPError:
                assert server.poll() is None, (folder / "log").read_text()
                time.sleep(0.5)
        yield address
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_teams_server_asks_for_a_login_and_for_its_own_name(team: str, tmp_path: Path) -> None:
    experiments = f"{team}/api/2.0/mlflow/experiments/get?experiment_id=0"
    admin = ("admin", PASSWORD)
    assert httpx.get(experiments).status_code == 401
    assert httpx.get(experiments, auth=("admin", "password1234")).status_code == 401
    assert httpx.get(experiments, auth=admin).status_code == 200
    assert httpx.get(experiments, auth=admin, headers={"Host": "mlflow.example.org"}).status_code == 200
    assert httpx.get(experiments, auth=admin, headers={"Host": "evil.example.org"}).status_code == 403
    account = {"username": "ann", "password": "a long password of hers"}
    assert httpx.post(f"{team}/api/2.0/mlflow/users/create", json=account).status_code == 401
    assert httpx.post(f"{team}/api/2.0/mlflow/users/create", json=account, auth=admin).status_code == 200

    (tmp_path / "written.txt").write_text("through the server")
    client = """
        import mlflow
        mlflow.set_experiment("of ann")
        with mlflow.start_run() as run:
            mlflow.log_metric("auc", 0.9)
            mlflow.log_artifact("written.txt")
        assert run.info.artifact_uri.startswith("mlflow-artifacts:"), run.info.artifact_uri
        print(mlflow.artifacts.load_text(f"{run.info.artifact_uri}/written.txt"))
    """
    login = {f"MLFLOW_TRACKING_{key.upper()}": value for key, value in account.items()}
    environment = {**ENVIRONMENT, **login, "MLFLOW_TRACKING_URI": team}
    command = [sys.executable, "-c", textwrap.dedent(client)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "through the server" in done.stdout.splitlines()


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
