"""The command that calibrates a model's probabilities."""

from __future__ import annotations

import click

from orchestrator.cli import options
from orchestrator.cli.progress import open_set, show_survey


@click.command()
@click.option("--model", metavar="URI", required=True, help="Such as models:/lens-finder-space@champion.")
@click.option(
    "--data", metavar="SET", required=True, help="A folder, simulated-space or simulated-ground; with labels."
)
@click.option(
    "--method",
    type=click.Choice(["temperature", "isotonic"]),
    default="temperature",
    help="Two numbers, or a rising line through many points; the latter wants a thousand objects or more.",
)
@click.option(
    "--register", is_flag=True, help="Register it as a new version of the model of its set, without an alias."
)
@options.prevalence
@options.max_bad
@options.device
@options.tracking_uri
def calibrate(
    model: str,
    data: str,
    method: str,
    register: bool,
    prevalence: float | None,
    max_bad: float,
    device: str | None,
    tracking_uri: str | None,
) -> None:
    """Make a model's probabilities true, on labelled objects that it was not trained on.

    One half of them is fitted to, and the other says what that gained. Logits, and with them all rankings, stay.
    """
    from rich.console import Console

    from orchestrator.cli.compare import differences
    from orchestrator.learning import devices
    from orchestrator.studies import calibration
    from orchestrator.tracking import leftovers, models, store

    chosen = devices.choose(device)
    leftovers.connect(tracking_uri)
    loaded = models.load(model, chosen)
    cutouts = open_set(data, "none", max_bad)  # the model normalises by itself
    found = calibration.calibrate(model, loaded, cutouts, method, chosen, store.experiment("calibrations"), prevalence)
    if found.left_out is None:
        click.echo("It is not on record what the model was trained on: nothing is left out.", err=True)
    else:
        click.echo(f"Left out, since the model was trained on them: {found.left_out:,} objects.")
    click.echo(f"Fitted to {found.fitted:,} objects, and measured on {found.measured:,} others:")
    Console().print(differences(found.differences, "before", "after"))
    if found.survey is not None:
        show_survey(found.survey)
    click.echo(f"recorded as run {found.run_id}")
    if register:
        click.echo(f"registered as {calibration.register(found).uri}")
