"""Shows on standard error how far the work is: a bar in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.table import Table

    from orchestrator.data.cutouts import Cutouts
    from orchestrator.learning.prevalence import Survey
    from orchestrator.learning.training import Epoch
    from orchestrator.studies.standing import Standing

Say = Callable[..., None]
"""Called with how much is done in all, and by keyword `line`, what to leave standing on the screen."""

RENEWED_EVERY = 2.0
"""Seconds between two looks at the workers."""

NAMED = 10
"""Unreadable cutouts that are named on the screen; all of them are in the run's artifacts."""


@contextmanager
def bar(what: str, total: int, *, rate: bool = False) -> Iterator[Say]:
    """Show a bar of `total` steps for as long as the work goes on, with the steps a second where `rate` asks for it."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    class Rate(ProgressColumn):
        def render(self, task: Task) -> str:
            return f"{task.speed or 0:,.0f}/s"

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    left = (*([Rate()] if rate else []), TextColumn("left"), TimeRemainingColumn())
    with Progress(*columns, *left, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=total)

        def say(done: float, line: str = "") -> None:
            progress.update(task, completed=done)
            if line:
                console.print(line)

        yield say


@contextmanager
def board(what: str, look: Callable[[], Standing]) -> Iterator[Callable[[], None] | None]:
    """Show in a terminal what each worker is at, renewed by calling what it yields; elsewhere it yields None."""
    from rich.console import Console
    from rich.live import Live

    console, shown = Console(stderr=True, highlight=False), 0.0
    if not console.is_terminal:
        yield None
        return

    with Live(console=console, auto_refresh=False, transient=True) as live:

        def show() -> None:
            nonlocal shown
            if time.monotonic() - shown > RENEWED_EVERY:
                live.update(as_board(what, look()), refresh=True)
                shown = time.monotonic()

        yield show


def as_board(what: str, standing: Standing) -> Table:
    """A line for each worker, and above them one for the study."""
    from rich.table import Table

    share = f"{standing.done:,} of about {standing.expected:,} epochs"
    title = f"{what}: {share}, {_duration(standing.left)} left"
    made = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for heading in ("worker", "network", "trial", "epoch", "value", "left"):
        made.add_column(heading, no_wrap=True)
    for leg in standing.legs:
        value = "-" if leg.value is None else f"{leg.value:.4f}"
        epoch = f"{leg.epoch}/{leg.until}"
        made.add_row(leg.worker, leg.architecture, str(leg.trial), epoch, value, _duration(leg.left))
    return made


def _duration(seconds: float | None) -> str:
    return "unknown time" if seconds is None else str(timedelta(seconds=round(seconds)))


def follow(what: str, progress: Iterable[tuple[int, int]]) -> None:
    """Run a generator of (done, total) to its end behind a bar; it says its total first."""
    steps = iter(progress)
    done, total = next(steps, (0, 0))
    if done == total:  # nothing left to do
        for _ in steps:
            pass
        return
    with bar(what, total) as say:
        say(done)
        for done, _ in steps:
            say(done)
    click.echo(f"{what}: {total:,} objects", err=True)


def follow_many(what: str, total: int, progress: Iterable[int]) -> None:
    """Run a generator of steps done to its end, behind a bar with their rate and with a line for each tenth."""
    begin, first, said = time.monotonic(), None, 0
    with bar(what, total, rate=True) as say:
        for done in progress:
            first = done if first is None else first
            line, tenths = "", 10 * done // total
            if said < tenths < 10 and done > first:
                rate = (done - first) / (time.monotonic() - begin)
                line = f"{what}: {done:,} of {total:,}, {rate:,.0f}/s, {(total - done) / rate / 60:,.0f} min left"
                said = tenths
            say(done, line=line)


def open_set(name: str, normalisation: str, max_bad: float) -> Cutouts:
    """Simulate a named set where it is missing, pack it where it is not packed, open it, and name what is bad.

    Raises:
        DataError: no such set, or nothing in it to train on.
    """
    from orchestrator.data import cache, datasets
    from orchestrator.errors import DataError

    root = datasets.folder(name)
    follow(f"Simulating {root}", datasets.make(name))
    follow(f"Packing {root}", cache.build(root, normalisation, datasets.PACKED, max_bad=max_bad))
    cutouts = cache.load(root, normalisation, datasets.PACKED)
    if cutouts is None:
        raise DataError(f"{root}: its files changed while they were packed; try again when they rest")
    _tell(cutouts, root)
    return cutouts


def epoch_line(name: str, epoch: Epoch, total: int | None = None) -> str:
    """One epoch in one line."""
    figures = {"loss": epoch.loss, "val AUC": epoch.metrics["val_auc"], "val accuracy": epoch.metrics["val_accuracy"]}
    told = "  ".join(f"{key} {value:.4f}" for key, value in figures.items())
    of_all = f"/{total}" if total else ""
    return f"{name}  epoch {epoch.number}{of_all}  {told}  {epoch.seconds:.1f} s"


def _tell(cutouts: Cutouts, root: Path) -> None:
    lenses, others = int((cutouts.labels == 1).sum()), int((cutouts.labels == 0).sum())
    click.echo(f"{root}: {len(cutouts):,} {cutouts.set.name} cutouts, {lenses:,} lenses, {others:,} others", err=True)
    for bad in cutouts.bad[:NAMED]:
        click.echo(f"  left out: object {bad.id}: {bad.reason}", err=True)
    if len(cutouts.bad) > NAMED:
        click.echo(f"  and {len(cutouts.bad) - NAMED} more; the run's unreadable_cutouts.json names all", err=True)
    counts = {
        "without a label": cutouts.unlabelled,
        "with a label and no files": cutouts.missing,
        "without a file for every band": cutouts.incomplete,
    }
    for what, ids in counts.items():
        if ids:
            first = ", ".join(map(str, ids[:3])) + (", …" if len(ids) > 3 else "")
            click.echo(f"  {len(ids):,} {what}: {first}", err=True)


def show_survey(survey: Survey) -> None:
    """Print what is seen at a share of lenses, and what cannot be told."""
    from rich.console import Console

    from orchestrator.reports import reliability, tables

    click.echo(f"\n{reliability.survey_title(survey)}:")
    Console().print(tables.table(reliability.SURVEY, reliability.survey_lines(survey)))
    click.echo(reliability.survey_note(survey))
