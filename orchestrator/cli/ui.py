"""The command that opens MLflow's own pages on the store that everything is recorded in."""

from __future__ import annotations

import os
import sys

import click

from orchestrator.cli import options

HOST = "127.0.0.1"


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), default=5000, help="On this machine alone.")
@options.tracking_uri
def ui(port: int, tracking_uri: str | None) -> None:
    """Browse runs, curves and models in the MLflow UI, until Ctrl-C."""
    from orchestrator.tracking import store

    uri = store.connect(tracking_uri)
    if uri.startswith(("http://", "https://")):
        click.echo(f"The store is a server already: open {uri}")
        return
    options.free(HOST, port)
    click.echo(f"Open http://{HOST}:{port}/#/experiments?workflowType=machine_learning (Ctrl-C stops it)")
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"  # 13 processes that nothing here needs
    where = ["--backend-store-uri", uri, "--host", HOST, "--port", str(port), "--workers", "1"]
    os.execv(sys.executable, [sys.executable, "-m", "mlflow", "server", *where])
