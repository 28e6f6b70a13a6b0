"""Commands on the registered models."""

from __future__ import annotations

import click

from orchestrator.cli import options


@click.group()
def registry() -> None:
    """Promote models, and list them."""


@registry.command()
@click.option("--study", metavar="NAME", required=True, help="A study, or train-space or train-ground.")
@click.option("--metric", metavar="NAME", default="val_auc", help="Which decides.")
@options.tracking_uri
def promote(study: str, metric: str, tracking_uri: str | None) -> None:
    """Make the best model of a study the champion of its set."""
    from orchestrator.tracking import registry, store

    store.connect(tracking_uri)
    made = registry.promote(study, metric)
    click.echo(f"{made.uri} is version {made.version}: {made.model}, {made.epochs} epochs, of study {made.study}")


@registry.command(name="list")
@options.tracking_uri
def list_versions(tracking_uri: str | None) -> None:
    """List all versions of all registered models."""
    from rich.console import Console

    from orchestrator.reports import tables
    from orchestrator.tracking import registry, store

    store.connect(tracking_uri)
    rows = [
        [each.name, str(each.version), ", ".join(each.aliases), each.model, each.epochs, each.study]
        for each in registry.versions()
    ]
    if rows:
        Console().print(tables.table(["model", "version", "aliases", "network", "epochs", "study"], rows))
    else:
        click.echo("No model is registered yet; `orchestrator registry promote --study NAME` registers one.")
