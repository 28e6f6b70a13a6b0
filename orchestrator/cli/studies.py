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
        for line in scatter.pooled(cells):
            click.echo(f"{line}.")
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


@click.group(invoke_without_command=True)
@options.storage
@click.pass_context
def studies(context: click.Context, storage: str) -> None:
    """List the studies there are, and how far each is; with `show`, what one has found."""
    if context.invoked_subcommand:
        return
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


@studies.command()
@click.argument("name")
@options.storage
def show(name: str, storage: str) -> None:
    """Show what a study has found: the best settings of each network, what mattered, and the epochs it took."""
    from rich.console import Console

    from orchestrator.errors import StudyError, one_of
    from orchestrator.reports import tables
    from orchestrator.studies import overview as overviews
    from orchestrator.studies import storage as storages

    opened = storages.connect(storage)
    found = list(overviews.overview(name, opened))
    if not found:
        raise StudyError(one_of("study that was begun", name, tuple({each.study for each in storages.states(opened)})))
    console = Console()
    rows = [
        [
            *(each.architecture, str(each.trainings), f"{each.epochs:,}"),
            *("-" if each.best is None else f"{each.best:.4f}", str(each.at)),
        ]
        for each in found
    ]
    console.print(tables.table(["network", "trainings", "epochs spent", "best", "at epoch"], rows))
    if found[0].forked_from:
        click.echo(f"forked from {found[0].forked_from}")
    for each in found:
        if each.settings:
            click.echo(
                f"\n{each.architecture}, the best: "
                + ", ".join(f"{key} {_short(value)}" for key, value in each.settings.items())
            )
        if each.importances:
            told = ", ".join(f"{setting} {share:.0%}" for setting, share in each.importances.items())
            click.echo(f"  what mattered at {each.compared} epochs: {told}")
        if each.dropped:
            click.echo(f"  {each.architecture} dropped: {each.dropped}")
        for failure in each.failures:
            click.echo(f"  failed: {failure}")


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
