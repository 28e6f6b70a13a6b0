"""The command that opens the pages of MLflow, and of Optuna, on the stores that everything is recorded in."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

import click

from orchestrator.cli import options

HOST = "127.0.0.1"

PATIENCE = 10.0
"""Seconds that a server has to end in."""


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), default=5000, help="On this machine alone.")
@click.option("--optuna", is_flag=True, help="Open Optuna's dashboard of searches, too.")
@click.option("--optuna-port", type=click.IntRange(1, 65535), default=8080, help="Of the dashboard.")
@options.storage
@options.tracking_uri
def ui(port: int, optuna: bool, optuna_port: int, storage: str, tracking_uri: str | None) -> None:
    """Browse runs, curves and models in the MLflow UI, and searches in Optuna's, until Ctrl-C."""
    from orchestrator.errors import without_password
    from orchestrator.tracking import store

    uri = store.connect(tracking_uri, storage if optuna else None)
    command: list[str] = []
    if uri.startswith(("http://", "https://")):
        click.echo(f"The store is a server already: open {without_password(uri)}")
    else:
        options.free(HOST, port)
        # Else it takes all that looks like an address of a private network, 10.example.org too.
        names = [
            "--allowed-hosts",
            f"{HOST}:{port},localhost:{port}",
            "--cors-allowed-origins",
            f"http://{HOST}:{port}",
        ]
        where = ["--host", HOST, "--port", str(port), "--workers", "1", *names]
        command = [sys.executable, "-m", "mlflow", "server", *where]
        click.echo(f"Open http://{HOST}:{port}/#/experiments?workflowType=machine_learning (Ctrl-C stops it)")
    shown = contextlib.ExitStack()
    if optuna:
        from orchestrator.studies import dashboard
        from orchestrator.studies import storage as storages

        path = store.database(storage)
        if path is not None and not path.exists():
            raise click.BadParameter(f"{path}: there is no such storage; a sweep makes it", param_hint="--storage")
        searches = storages.connect(storage)
        options.free(HOST, optuna_port, "--optuna-port")
        shown.enter_context(dashboard.serving(searches, HOST, optuna_port))
        click.echo(f"Open http://{HOST}:{optuna_port}/dashboard for searches")
    with shown:
        if command or optuna:
            _serve(command, uri)


def _serve(command: Sequence[str], uri: str) -> None:
    """Run a server, if one is asked for, until Ctrl-C or until it ends by itself."""
    environment = {
        **os.environ,
        "MLFLOW_BACKEND_STORE_URI": uri,  # all users of a machine may read a command's options
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # 13 processes that nothing here needs
    }
    # A session of its own, so that its children end with it.
    servers = [subprocess.Popen(command, env=environment, start_new_session=True)] if command else []
    try:
        while all(server.poll() is None for server in servers):
            time.sleep(0.2)
    except KeyboardInterrupt:
        click.echo("Stopped.", err=True)
    finally:
        for sent in (signal.SIGTERM, signal.SIGKILL):
            for server in servers:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(server.pid, sent)
            end = time.monotonic() + PATIENCE
            while time.monotonic() < end and any(server.poll() is None for server in servers):
                time.sleep(0.1)
