"""The command that shows all of it once, on simulated data."""

from __future__ import annotations

import click

from orchestrator.cli.registry import promote
from orchestrator.cli.sweep import sweep
from orchestrator.errors import TrackingError

STUDY = "quickstart"

NEXT = f"""
What to try next (with .venv/bin/ before it, or after `source .venv/bin/activate`):

  orchestrator ui                                          browse runs, ROC curves and models
  orchestrator table --study {STUDY}                    this table again; --format csv, markdown or json
  orchestrator evaluate --model models:/lens-finder-space@champion --data FOLDER
  orchestrator train --model cmu_deeplens --epochs 5,10    another network
  orchestrator data simulate --set ground --count 2000 --seed 1 --out data/ground
"""


@click.command()
@click.pass_context
def quickstart(context: click.Context) -> None:
    """Simulate a set, sweep two networks over epoch counts, print the table and promote the best."""
    context.invoke(sweep, study=STUDY)
    try:
        context.invoke(promote, study=STUDY)
    except TrackingError as error:  # a better one may be champion already
        click.echo(str(error))
    click.echo(NEXT)
