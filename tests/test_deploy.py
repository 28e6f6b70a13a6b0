"""What is deployed: files that parse, scripts that shellcheck takes, and the very commands, run here."""

from __future__ import annotations

import contextlib
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
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import yaml
from click import Context

from orchestrator.cli import main
from orchestrator.tracking import store
from tests.cli.calling import ENVIRONMENT
from tests.cli.faulty import call, folder, lines_until, results
from tests.conftest import ROOT

DEPLOY = ROOT / "deploy"
SCRIPTS = {script.stem: script for script in (DEPLOY / "slurm").glob("*.sbatch")}
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
    pytest.importorskip("flask_wtf", reason="Flask-WTF, of the extra server, is not installed")
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
    study = at / "faulty.toml"
    study.write_text(study.read_text().replace('"asinh"', '"none"'))
    store.connect(f"sqlite:///{at}/mlflow.db")  # whose tables are made faster here
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
        "RAY_worker_niceness": "0",  # beside other tests
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
    study = tmp_path / "work" / "faulty.toml"
    study.write_text(study.read_text().replace("[1, 2]", "[1]"))  # one training is enough
    array = {"SLURM_ARRAY_JOB_ID": "17", "SLURM_ARRAY_TASK_ID": "3"}
    _end(submit("worker", **array))
    assert (tmp_path / "requeued").read_text() == "requeue 17_3\n"
    job = submit("worker", **array)
    _, told = job.communicate(timeout=240)
    assert job.returncode == 0, told
    assert "trial 0  epoch 1 " not in told
    assert results(tmp_path / "work").keys() == {("1", 2), ("1", 12)}
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
        call(tmp_path / "work", "doctor", "--mend")  # an epoch that was cut while it was recorded
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
