"""Commands that run studies, list them, and print their tables."""

from __future__ import annotations

import click

from orchestrator.cli import options
from orchestrator.cli.progress import bar, epoch_line, open_set


@click.command()
@click.option("--study", metavar="NAME", required=True, help="A file of search_spaces/, or a path to one.")
@click.option("--data", metavar="SET", help="Another set than the study's own.")
@options.max_bad
@options.device
@options.storage
@options.tracking_uri
def sweep(
    study: str, data: str | None, max_bad: float, device: str | None, storage: str, tracking_uri: str | None
) -> None:
    """Train what a study asks for and is not done yet, and print its table.

    Interrupted and run again, it goes on where it stopped.
    """
    from rich.console import Console

    from orchestrator.learning import devices
    from orchestrator.learning.training import Epoch
    from orchestrator.reports import tables
    from orchestrator.studies import study as studies
    from orchestrator.studies import sweep as sweeps
    from orchestrator.studies.trial import Bench
    from orchestrator.tracking import runs, store

    asked = studies.load(study)
    if data is not None:
        asked = asked.model_copy(update={"data": data})
    chosen = devices.choose(device)
    uri = store.connect(tracking_uri)
    trials = sweeps.connect(storage)
    cutouts = {each: open_set(asked.data, each, max_bad) for each in asked.normalisations()}
    tested = {each: open_set(asked.test_data, each, max_bad) for each in cutouts} if asked.test_data else None
    experiment = store.experiment(asked.name)
    bench = Bench(cutouts, tested, chosen, experiment, asked.name)
    longest, total = asked.epochs[-1], sum(map(asked.wanted, asked.architectures))
    before = sum(each.complete for each in sweeps.states(trials) if each.study == asked.name)
    seen: set[tuple[str, int]] = set()
    with bar(f"Study {asked.name} on {chosen}", longest * total) as say:

        def watch(architecture: str, trial: int, epoch: Epoch) -> None:
            seen.add((architecture, trial))
            line = epoch_line(f"{architecture} trial {trial}", epoch, longest)
            say(longest * (before + len(seen) - 1) + epoch.number, line=line)

        parent = sweeps.begin(experiment, asked.name)
        with runs.running(parent):
            failures = sweeps.sweep(asked, trials, bench, parent, watch)
    for failure in failures:
        click.echo(f"failed: {failure}", err=True)
    Console().print(tables.as_table(runs.rows(asked.name)))
    click.echo(f"Recorded in {uri} and {storage}.")


@click.command()
@click.option("--study", metavar="NAME", required=True, help="A study, or train-space or train-ground.")
@click.option("--format", "form", type=click.Choice(["text", "csv", "markdown", "json"]), default="text")
@click.option("--intervals", is_flag=True, help="Show the 95 % confidence interval of each metric; text only.")
@click.option("--beside", type=click.Choice(["paper", "challenge"]), help="Show what was published too; text only.")
@options.tracking_uri
def table(study: str, form: str, intervals: bool, beside: str | None, tracking_uri: str | None) -> None:
    """Print the results of a study: a row per network and epoch count, metrics of the test set."""
    from rich.console import Console

    from orchestrator.reports import published, tables
    from orchestrator.tracking import runs, store

    if form != "text" and (intervals or beside):
        raise click.UsageError("--intervals and --beside are for --format text; json has every number")
    store.connect(tracking_uri)
    rows = runs.rows(study)
    if intervals or beside:
        given = published.read(beside, rows[0].set) if beside else None
        Console().print(tables.as_long_table(rows, given))
        if beside:
            click.echo(f"Not comparable as they stand: {published.CAVEATS[beside]}.")
        return
    made = tables.FORMATS[form](rows)
    if isinstance(made, str):
        click.echo(made)
    else:
        Console().print(made)


@click.command()
@options.storage
def studies(storage: str) -> None:
    """List the studies there are, and how far each is."""
    from rich.console import Console

    from orchestrator.reports import tables
    from orchestrator.studies import study, sweep

    begun = list(sweep.states(sweep.connect(storage)))
    rows = [
        [
            *(each.study, each.architecture),
            *(str(each.complete), str(each.waiting), str(each.running), str(each.failed)),
            "-" if each.best is None else f"{each.best:.4f}",
        ]
        for each in begun
    ]
    rows += [[name, "not begun", *"-----"] for name in study.names() if name not in {each.study for each in begun}]
    Console().print(tables.table(["study", "network", "complete", "waiting", "running", "failed", "best"], rows))
