"""The command that tests a registered model."""

from __future__ import annotations

from pathlib import Path

import click

from orchestrator.cli import options
from orchestrator.cli.progress import open_set, show_survey


@click.command()
@click.option("--model", metavar="URI", required=True, help="Such as models:/lens-finder-space@champion.")
@click.option("--data", metavar="SET", required=True, help="A folder, simulated-space or simulated-ground.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="CSV file for every object's score.")
@options.prevalence
@options.max_bad
@options.device
@options.tracking_uri
def evaluate(
    model: str,
    data: str,
    out: Path | None,
    prevalence: float | None,
    max_bad: float,
    device: str | None,
    tracking_uri: str | None,
) -> None:
    """Score a set with a model, and record its metrics, ROC curve and scores.

    With --prevalence, probabilities are at that share of lenses; metrics at probability 0.5 stay at the model's own.
    """
    from orchestrator.data.whole import write
    from orchestrator.learning import devices
    from orchestrator.reports import scores, tables
    from orchestrator.studies import evaluation
    from orchestrator.tracking import leftovers, models, store

    chosen = devices.choose(device)
    leftovers.connect(tracking_uri)
    loaded = models.load(model, chosen)
    cutouts = open_set(data, "none", max_bad)  # the model normalises by itself
    found = evaluation.evaluate(model, loaded, cutouts, chosen, store.experiment("evaluations"), prevalence)
    for line in tables.lines(found.metrics, found.intervals):
        click.echo(line)
    if not found.metrics:
        click.echo("no metrics: both lenses and others need labels")
    elif found.seen is None:
        click.echo("Note: it is not on record what the model was trained on; of that its metrics are too good.")
    elif found.seen:
        click.echo(f"Note: the model was trained on {found.seen:,} of these objects; of others its metrics are worse.")
    if found.survey is not None:
        show_survey(found.survey)
    if out is not None:
        write(out, scores.as_csv(found.ids, found.labels, found.logits, found.probabilities))
        click.echo(f"scores in {out}")
    click.echo(f"recorded as run {found.run_id}")
