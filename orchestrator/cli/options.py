"""Options that several commands have."""

from __future__ import annotations

import click

tracking_uri = click.option(
    "--tracking-uri", metavar="URI", help="MLflow store.  [default: MLFLOW_TRACKING_URI, then sqlite:///mlflow.db]"
)
storage = click.option("--storage", metavar="URL", default="sqlite:///optuna.db", help="Optuna storage.")
device = click.option("--device", metavar="NAME", help="cuda, mps or cpu.  [default: the best there is]")
max_bad = click.option(
    "--max-bad",
    type=click.FloatRange(0, 1),
    default=0.01,
    help="Share of the cutouts that may be unreadable; they are named and left out.",
)
