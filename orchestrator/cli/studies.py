"""Commands that run studies, list them, and print their tables."""

from __future__ import annotations

import click

from orchestrator.cli import options
from orchestrator.cli.progress import bar, epoch_line, open_set


@click.command()
@click.option("--study", metavar="NAME", required=True, help="A file of search_spaces/, or a path to one.")
@click.option("--scale", metavar="NAME", help="Another scale that the file has; its results are a study of their own.")
@click.option("--data", metavar="SET", help="Another set than the study's own.")
@click.option("--test-data", metavar="SET", help="A set of its own to test on.")
@options.max_bad
@options.device
@options.storage
@options.tracking_uri
def sweep(
    study: str,
    scale: str | None,
    data: str | None,
    test_data: str | None,
    max_bad: float,
    device: str | None,
    storage: str,
    tracking_uri: str | None,
) -> None:
    """Train what a study asks for and is not done yet, extend what earns it, and print the table.

    Interrupted and run again, it goes on where it stopped.
    """
    from rich.console import Console

    from orchestrator.learning import devices
    from orchestrator.learning.training import Epoch
    from orchestrator.reports import tables
    from orchestrator.reports.results import Trial
    from orchestrator.studies import extension
    from orchestrator.studies import study as studies
    from orchestrator.studies import sweep as sweeps
    from orchestrator.studies.bench import Bench
    from orchestrator.tracking import records, runs, store

    asked = studies.load(study, scale or None)  # `mlflow run` writes what is not given as an empty text
    given = {"data": data, "test_data": test_data}
    asked = asked.model_copy(update={key: value for key, value in given.items() if value is not None})
    chosen = devices.choose(device)
    uri = store.connect(tracking_uri)
    trials = sweeps.connect(storage)
    cutouts = {each: open_set(asked.data, each, max_bad) for each in asked.normalisations()}
    tested = {each: open_set(asked.test_data, each, max_bad) for each in cutouts} if asked.test_data else None
    experiment = store.experiment(asked.name)
    bench = Bench(cutouts, tested, chosen, experiment, asked.name)
    told = f"Study {asked.name}" + (f" (scale: {asked.scale})" if asked.scale else "")
    if asked.may_be("schedule", "cosine"):
        click.echo("A cosine schedule depends on the epochs asked for: each count is a training of its own.", err=True)
    longest, total = asked.longest, sum(map(asked.wanted, asked.architectures))
    before = sum(each.complete for each in sweeps.states(trials) if each.study == asked.name)
    seen: set[tuple[str, int]] = set()
    parent = sweeps.begin(experiment, asked)
    with runs.running(parent):
        with bar(f"{told} on {chosen}", longest * total) as say:

            def watch(architecture: str, trial: int, epoch: Epoch, done: int) -> None:
                seen.add((architecture, trial))
                line = epoch_line(f"{architecture} trial {trial}", epoch, asked.epochs[-1])
                say(longest * (before + len(seen) - 1) + done, line=line)

            failures = sweeps.sweep(asked, trials, bench, parent, watch)
        with bar(f"{told}: extending", 0) as say:

            def decided(trial: Trial, to: int, decision: extension.Decision) -> None:
                say(0, line=f"{trial.model} {decision.tags(to)['extension']}")

            def extended(trial: Trial, epoch: Epoch) -> None:
                say(0, line=epoch_line(trial.model, epoch))

            extension.extend_study(asked, bench, decided, extended)
    for failure in failures:
        click.echo(f"failed: {failure}", err=True)
    rows = records.rows(asked.name)
    Console().print(tables.as_table(rows))
    for note in tables.notes(rows):
        click.echo(f"Note: {note}.")
    click.echo(f"{told}. Recorded in {uri} and {storage}.")


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
@click.argument("run")
@click.option("--to", metavar="N[,N…]", required=True, help="Epoch counts beyond those it has; each gets a row.")
@options.max_bad
@options.device
@options.tracking_uri
def extend(run: str, to: str, max_bad: float, device: str | None, tracking_uri: str | None) -> None:
    """Train on from where the training of a run ended, whatever its study decided; RUN is the training or a row of it.

    Its data have to be where they were, unchanged.
    """
    from rich.console import Console

    from orchestrator.learning import devices
    from orchestrator.reports import tables
    from orchestrator.studies import extension
    from orchestrator.tracking import records, runs, store

    counts = options.counts("--to", to)
    chosen = devices.choose(device)
    store.connect(tracking_uri)
    trial = records.trial(run)
    bench = extension.bench(trial, chosen, lambda name: open_set(name, trial.settings["normalisation"], max_bad))
    with bar(f"Extending {trial.model} on {chosen}", counts[-1]) as say:
        extension.extend(
            trial,
            counts,
            bench,
            lambda epoch: say(epoch.number, line=epoch_line(trial.model, epoch, counts[-1])),
        )
    runs.log_tags(trial.run_id, {"extension": f"extended to {counts[-1]}: asked for by hand"})
    family = records.recipe_of(trial.run_id).family
    rows = [row for row in records.rows(bench.study) if row.family == family]
    Console().print(tables.as_table(rows))


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
