"""Commands that list studies, and print their tables."""

from __future__ import annotations

import click

from orchestrator.cli import options


@click.command()
@click.option("--study", metavar="NAME", required=True, help="A study, or train-space or train-ground.")
@click.option("--format", "form", type=click.Choice(["text", "csv", "markdown", "json"]), default="text")
@click.option("--intervals", is_flag=True, help="Show the 95 % confidence interval of each metric.")
@click.option("--beside", type=click.Choice(["paper", "challenge"]), multiple=True, help="Show what was published too.")
@click.option("--repeats", is_flag=True, help="Show instead how far repeats with other seeds scatter.")
@options.tracking_uri
def table(
    study: str, form: str, intervals: bool, beside: tuple[str, ...], repeats: bool, tracking_uri: str | None
) -> None:
    """Print the results of a study: a row per network and epoch count, metrics of the test set."""
    from rich.console import Console

    from orchestrator.reports import published, tables
    from orchestrator.reports import repeats as scatter
    from orchestrator.tracking import records, store

    store.connect(tracking_uri)
    rows = records.rows(study)
    if repeats:
        if form != "text" or intervals or beside:
            raise click.UsageError("--repeats goes with no other option but --study; --format json has every row")
        cells = scatter.repeats(rows)
        if not cells:
            raise click.UsageError(f"no row of '{study}' was repeated with another seed")
        Console().print(scatter.as_table(cells))
        for line in scatter.lines(scatter.changes(cells)):
            click.echo(line)
        return
    given = [published.read(source, rows[0].set) for source in beside]
    made = tables.FORMATS[form](rows, intervals, given)
    if isinstance(made, str):
        click.echo(made)
    else:
        Console().print(made)
    scale = records.study_definition(study).get("scale")
    told = [f"study {study} is of scale {scale}"] if scale else []
    for note in [*told, *tables.notes(rows, given)]:
        click.echo(f"Note: {note}.", err=form != "text")


@click.command()
@options.storage
def studies(storage: str) -> None:
    """List the studies there are, and how far each is."""
    from rich.console import Console

    from orchestrator.reports import tables
    from orchestrator.studies import storage as storages
    from orchestrator.studies import study

    begun = list(storages.states(storages.connect(storage)))
    rows = [
        [
            *(each.study, each.architecture),
            *(str(count) for count in (each.complete, each.stopped, each.waiting, each.running, each.failed)),
            "-" if each.best is None else f"{each.best:.4f}",
        ]
        for each in begun
    ]
    rows += [[name, "not begun", *"------"] for name in study.names() if name not in {each.study for each in begun}]
    Console().print(
        tables.table(["study", "network", "complete", "stopped", "waiting", "running", "failed", "best"], rows)
    )
