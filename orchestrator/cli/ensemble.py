"""The command that makes one finder of several."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orchestrator.cli import options
from orchestrator.cli.progress import open_set

if TYPE_CHECKING:
    from orchestrator.learning.ensemble import How


@click.command()
@click.option("--study", metavar="NAME", required=True, help="A study, or train-space or train-ground.")
@click.option(
    "--top",
    type=click.IntRange(min=1),
    default=5,
    help="Of how many trainings, the best by validation; of each one row.",
)
@click.option(
    "--how",
    type=click.Choice(["mean", "rank", "stacking"]),
    default="mean",
    help="Mean of the logits, mean rank, or a logistic regression on the logits.",
)
@click.option("--orientations", is_flag=True, help="Average over the eight orientations of a cutout too.")
@click.option("--register", is_flag=True, help="Register it as a version, without an alias.")
@options.max_bad
@options.device
@options.tracking_uri
def ensemble(
    study: str,
    top: int,
    how: How,
    orientations: bool,
    register: bool,
    max_bad: float,
    device: str | None,
    tracking_uri: str | None,
) -> None:
    """Make one finder of the best networks of a study, and a row of its table.

    What is fitted is fitted to the validation objects. It says what is gained over the best member on the test
    objects, by paired intervals, and how much longer it takes.
    """
    from rich.console import Console

    from orchestrator.cli.compare import differences
    from orchestrator.learning import devices
    from orchestrator.studies import comparison
    from orchestrator.studies import ensemble as ensembles
    from orchestrator.tracking import leftovers, records, registry

    chosen = devices.choose(device)
    leftovers.connect(tracking_uri)
    plan = ensembles.Plan(study, top, how, orientations)
    made = ensembles.ensemble(plan, chosen, lambda name: open_set(name, "none", max_bad))
    for row in made.members:
        click.echo(f"{row.run_id}  {row.name}, {row.epochs} epochs, val_auc {row.metrics['val_auc']:.4f}")
    best = made.members[0]
    Console().print(differences(comparison.compare(best.run_id, made.run_id).metrics, "best", "ensemble"))
    click.echo(f"It takes {made.times_slower:.2f} times as long as the best of them, from file to score.")
    click.echo(f"recorded as run {made.run_id}")
    if register:
        version = registry.register(records.row(made.run_id), {"study": study})
        click.echo(f"registered as {version.uri}; `orchestrator registry promote {made.run_id}` asks the gate")
