"""Commands that train what a study asks for."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli import options
from orchestrator.cli.progress import bar, board, epoch_line, open_set

if TYPE_CHECKING:
    from orchestrator.learning.training import Epoch
    from orchestrator.studies.bench import Bench
    from orchestrator.studies.storage import Storage
    from orchestrator.studies.study import Study


def of_a_study(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that say which study, on what data, and where it is kept."""
    for option in reversed((
        click.option("--study", metavar="NAME", required=True, help="A file of search_spaces/, or a path to one."),
        click.option(
            "--scale", metavar="NAME", help="Another scale that the file has; its results are a study of their own."
        ),
        click.option("--data", metavar="SET", help="Another set than the study's own."),
        click.option("--test-data", metavar="SET", help="A set of its own to test on."),
        click.option(
            "--fork", metavar="NEW", help="Begin another study of that name with the finished trainings that fit."
        ),
        options.max_bad,
        options.device,
        options.storage,
        options.tracking_uri,
    )):  # fmt: skip
        command = option(command)
    return command


@click.command()
@of_a_study
@click.option("--workers", type=click.IntRange(1), help="Processes that train; GPUs are shared out.  [default: 1]")
@options.engine
@options.address
@click.option(
    "--gpus-per-trial",
    metavar="N",
    type=click.FloatRange(0),
    help="Of the Ray cluster, such as 0.5; there are as many workers as fit.  [default: 1 where there are any]",
)
def sweep(workers: int | None, engine: str, address: str | None, gpus_per_trial: float | None, **given: Any) -> None:
    """Train what a study asks for and is not done yet, extend what earns it, and print the table.

    Interrupted and run again, it goes on where it stopped.
    """
    from rich.console import Console

    from orchestrator.errors import without_password
    from orchestrator.reports import tables
    from orchestrator.studies import cluster, cluster_launcher, doctor, launcher, plots, standing
    from orchestrator.studies import storage as storages
    from orchestrator.studies import sweep as sweeps
    from orchestrator.studies.domination import dropped
    from orchestrator.studies.worker import failures
    from orchestrator.tracking import artifacts, records, runs

    nodes = options.connected(engine, {"--address": address, "--gpus-per-trial": gpus_per_trial})
    share = cluster.share_out(nodes, workers, gpus_per_trial) if nodes else None
    asked, bench, trials, uri = _opened(**given)
    cluster.refuse_sqlite(nodes, given["storage"], uri)
    told = f"Study {asked.name}" + (f" (scale: {asked.scale})" if asked.scale else "")
    if asked.may_be("schedule", "cosine"):
        click.echo("A cosine schedule depends on the epochs asked for: each count is a training of its own.", err=True)
    doctor.mend(trials)
    with storages.Claim(trials):
        parent = sweeps.begin(bench.experiment, asked)
    searches = sweeps.opened(asked, trials, bench)
    with runs.running(parent):
        if share is not None:
            work = functools.partial(_work, **{**given, "tracking_uri": uri})
            reap = functools.partial(doctor.reap, trials)
            cluster_launcher.launch(work, share, reap, functools.partial(click.echo, err=True))
        elif workers is not None and workers > 1:
            handed_on = {
                f"--{name.replace('_', '-')}": str(value)
                for name, value in given.items()
                if value not in (None, "") and name not in ("storage", "tracking_uri")
            }
            stores = {"OPTUNA_STORAGE": given["storage"], "MLFLOW_TRACKING_URI": uri}
            with board(told, lambda: standing.look(asked, searches)) as show:
                launcher.launch(handed_on, stores, workers, bench.device, show)
        else:
            _train(asked, trials, bench, parent, f"{told} on {bench.device}")
        for network, reason in dropped(searches).items():
            click.echo(f"dropped: {network}: {reason}")
        for failure in failures(searches):
            click.echo(f"failed: {failure}", err=True)
        _extend(asked, bench, trials)
        if asked.search != "grid":
            artifacts.log_search(parent, plots.draw(searches), asked.name, asked.description)
    doctor.mend(trials)  # what workers left that were killed
    rows = records.rows(asked.name)
    Console().print(tables.as_table(rows))
    for note in tables.notes(rows):
        click.echo(f"Note: {note}.")
    click.echo(without_password(f"{told}. Recorded in {uri} and {given['storage']}."))


@click.command()
@of_a_study
def worker(**given: Any) -> None:
    """Train trials of a study until none is left to begin: what a job of a cluster starts, as many times as it likes.

    All workers of a study share its storage and its MLflow store. It neither extends trainings nor prints a table;
    `orchestrator sweep` does, once all is done.
    """
    _work(**given)


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
    from orchestrator.tracking import leftovers, records, runs

    counts = options.counts("--to", to)
    chosen = devices.choose(device)
    leftovers.connect(tracking_uri)
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


def _opened(
    study: str,
    scale: str | None,
    data: str | None,
    test_data: str | None,
    fork: str | None,
    max_bad: float,
    device: str | None,
    storage: str,
    tracking_uri: str | None,
) -> tuple[Study, Bench, Storage, str]:
    """What the options of `of_a_study` ask for: the study, its data and device, both stores, MLflow's by address."""
    from orchestrator.learning import devices
    from orchestrator.studies import fork as forks
    from orchestrator.studies import storage as storages
    from orchestrator.studies import study as studies
    from orchestrator.studies.bench import Bench
    from orchestrator.tracking import store

    # `mlflow run` writes what is not given as an empty text
    asked = studies.load(study, scale or None).on(data, test_data)
    source, asked = asked.name, asked.model_copy(update={"name": fork or asked.name})
    chosen = devices.choose(device)
    uri = store.connect(tracking_uri, storage)
    trials = storages.connect(storage)
    cutouts = {each: open_set(asked.data, each, max_bad) for each in asked.normalisations()}
    tested = {each: open_set(asked.test_data, each, max_bad) for each in cutouts} if asked.test_data else None
    bench = Bench(cutouts, tested, chosen, store.experiment(asked.name), asked.name)
    told = forks.fork(asked, source, trials, bench) if fork else None
    if told:
        click.echo(f"Study {asked.name}: {told}", err=True)
    return asked, bench, trials, uri


def _work(**given: Any) -> None:
    """Be a worker."""
    from orchestrator.studies import sweep as sweeps

    asked, bench, trials, _ = _opened(**given)
    parent = sweeps.joined(bench.experiment, asked, trials)
    sweeps.sweep(asked, trials, bench, parent, _line)


def _train(asked: Study, trials: Storage, bench: Bench, parent: str, told: str) -> None:
    """Train in this process, behind a bar."""
    from orchestrator.studies import storage as storages
    from orchestrator.studies import sweep as sweeps

    longest, total = asked.longest, sum(map(asked.wanted, asked.architectures))
    before = sum(each.complete for each in storages.states(trials) if each.study == asked.name)
    seen: set[tuple[str, int]] = set()
    with bar(told, longest * total) as say:

        def watch(architecture: str, trial: int, epoch: Epoch, done: int) -> None:
            seen.add((architecture, trial))
            line = epoch_line(f"{architecture} trial {trial}", epoch, asked.epochs[-1])
            say(longest * (before + len(seen) - 1) + done, line=line)

        sweeps.sweep(asked, trials, bench, parent, watch)


def _line(architecture: str, trial: int, epoch: Epoch, done: int) -> None:
    click.echo(epoch_line(f"{architecture} trial {trial}", epoch), err=True)


def _extend(asked: Study, bench: Bench, trials: Storage) -> None:
    """Extend what earns it, and say what was decided; one launcher does, and others wait for it."""
    from orchestrator.reports.results import Trial
    from orchestrator.studies import extension
    from orchestrator.studies import storage as storages

    if asked.extension is None:
        return
    claim = storages.Claim(trials, f"extending {asked.name}")
    if not claim.take(wait=False):
        click.echo(f"Study {asked.name} is being extended by another sweep; waiting for it", err=True)
        claim.take()
    with claim, bar(f"Study {asked.name}: extending", 0) as say:

        def decided(trial: Trial, to: int, decision: extension.Decision) -> None:
            say(0, line=f"{trial.model} {decision.tags(to)['extension']}")

        def extended(trial: Trial, epoch: Epoch) -> None:
            say(0, line=epoch_line(trial.model, epoch))

        extension.extend_study(asked, bench, decided, extended)
