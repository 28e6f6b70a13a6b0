"""The command that sets two rows side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from orchestrator.cli import options

if TYPE_CHECKING:
    from rich.table import Table

    from orchestrator.studies.comparison import Difference


@click.command()
@click.argument("run_a")
@click.argument("run_b")
@options.tracking_uri
def compare(run_a: str, run_b: str, tracking_uri: str | None) -> None:
    """Say in what two rows or evaluations differ, and whether by more than chance; both are named by their runs.

    `orchestrator table --format csv` names the runs of rows. The intervals are of B less A, paired by the
    objects that both were tested on.
    """
    from rich.console import Console

    from orchestrator.reports import tables
    from orchestrator.studies import comparison
    from orchestrator.tracking import store

    store.connect(tracking_uri)
    found = comparison.compare(run_a, run_b)
    console = Console()
    if found.settings:
        lines = [[key, *both] for key, both in found.settings.items()]
        console.print(tables.table(["differs", "A", "B"], lines))
        click.echo()
    console.print(differences(found.metrics, "A", "B"))
    if found.objects:
        how = ", by identifier and label: somebody else's scores come without pixels" if found.by_name else ""
        click.echo(f"Both were tested on the same {found.objects:,} objects{how}.")
    else:
        click.echo("They were tested on different objects: what differs may be the objects, and has no interval.")


def differences(found: Mapping[str, Difference], one: str, other: str) -> Table:
    """Metrics of two things, named so, and whether they differ by more than chance."""
    from orchestrator.learning.bootstrap import LEVEL
    from orchestrator.reports import tables

    rows = [[name, *each.cells, "beyond chance" if each.beyond_chance else ""] for name, each in found.items()]
    return tables.table(["metric", one, other, f"{other} - {one}", f"{LEVEL:.0%} interval", ""], rows)
