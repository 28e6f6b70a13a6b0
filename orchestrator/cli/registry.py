"""Commands on the registered models."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from orchestrator.cli import options
from orchestrator.cli.progress import open_set
from orchestrator.data.challenge import SETS

if TYPE_CHECKING:
    from orchestrator.studies.gate import Verdict
    from orchestrator.tracking.registry import Version


@click.group()
def registry() -> None:
    """Promote models, and list them."""


@registry.command()
@click.argument("run", required=False)
@click.option(
    "--study", metavar="NAME", help="In place of a RUN: the best row of a study, or of train-space or train-ground."
)
@click.option("--metric", metavar="NAME", default="val_auc", help="Which decides on the best.")
@click.option(
    "--to", "alias", metavar="ALIAS", default="champion", help="What it becomes; the gate guards the champion."
)
@click.option("--data", metavar="SET", help="Compare on this set, not on the objects that the row was tested on.")
@click.option(
    "--force", metavar="REASON", default="", help="Promote it whatever the gate says; the reason is recorded."
)
@options.max_bad
@options.device
@options.tracking_uri
def promote(
    run: str | None,
    study: str | None,
    metric: str,
    alias: str,
    data: str | None,
    force: str,
    max_bad: float,
    device: str | None,
    tracking_uri: str | None,
) -> None:
    """Make the model of a row the champion of its set, if it passes the gate; RUN is the row's.

    It has to be better than the present champion by more than chance, on the same objects, and in nothing that the gate
    names worse. The first champion of a set has nobody to beat.
    """  # fmt: skip
    from orchestrator.learning import devices
    from orchestrator.studies import promotion
    from orchestrator.tracking import leftovers, registry

    if (run is None) == (study is None):
        raise click.UsageError("a RUN or --study NAME says what to promote: one of the two")
    chosen = devices.choose(device)
    leftovers.connect(tracking_uri)
    row = run or registry.best_row(str(study), metric).run_id
    made, verdict = promotion.promote(
        row, alias, chosen, lambda name: open_set(name, "none", max_bad), data=data, forced=force
    )
    if verdict:
        _tell(verdict)
    of = f"{made.tags['model']}, {made.tags['epochs']} epochs, of study {made.tags.get('study') or '-'}"
    already = " already" if alias == "champion" and verdict is None else ""
    click.echo(f"models:/{made.name}@{alias} is{already} version {made.version}: {of}")


@registry.command()
@click.argument("run")
@click.option("--against", metavar="URI", help="A registered model.  [default: the champion of its set]")
@click.option("--data", metavar="SET", help="Compare on this set, not on the objects that the row was tested on.")
@options.max_bad
@options.device
@options.tracking_uri
def gate(
    run: str, against: str | None, data: str | None, max_bad: float, device: str | None, tracking_uri: str | None
) -> None:
    """Say whether a row would pass the gate; nothing is promoted. The exit status is 1 if not."""
    from orchestrator.learning import devices
    from orchestrator.studies import gate as gates
    from orchestrator.studies import promotion
    from orchestrator.tracking import leftovers, records, registry

    chosen = devices.choose(device)
    leftovers.connect(tracking_uri)
    row = records.row(run)
    rival = registry.find(against) if against else registry.champion(row.set)
    conditions = promotion.gate_of(records.study_of(run))
    verdict = gates.judge(row, rival, conditions, chosen, lambda name: open_set(name, "none", max_bad), data)
    _tell(verdict)
    click.echo(f"recorded as run {promotion.record(verdict, conditions)}")
    if not verdict.passed:
        raise SystemExit(1)


@registry.command()
@click.option("--set", "imaging", type=click.Choice(["space", "ground"]), required=True)
@options.tracking_uri
def rollback(imaging: str, tracking_uri: str | None) -> None:
    """Make the champion before the present one champion again."""
    from orchestrator.tracking import registry, store

    store.connect(tracking_uri)
    with registry.exclusive():
        was, now = registry.rollback(imaging)
    click.echo(
        f"{now.uri} is version {now.version} again: {now.tags.get('model', '-')}, in the place of version {was.version}"
    )


@registry.command(name="list")
@options.tracking_uri
def list_versions(tracking_uri: str | None) -> None:
    """List all versions that were registered here, with the metrics of their rows, and name the others."""
    from orchestrator.tracking import registry, store

    store.connect(tracking_uri)
    found = registry.versions()
    ours = {registry.name_of(imaging) for imaging in SETS}
    listed = [each for each in found if each.run_id or each.name in ours]
    for each in listed:
        aliases = "".join(f" @{alias}" for alias in each.aliases)
        for line in _lines(each, f"{each.name}/{each.version}{aliases}"):
            click.echo(line)
    others = sorted({each.name for each in found} - {each.name for each in listed})
    if others:
        click.echo(f"Left out, as others have registered them: {', '.join(others)}")
    if not listed:
        click.echo("No model is registered yet; `orchestrator registry promote --study NAME` registers one.")


def _lines(each: Version, named: str) -> Iterator[str]:
    """What is to be said of a version."""
    from orchestrator.errors import TrackingError
    from orchestrator.reports import tables
    from orchestrator.tracking import records

    if each.registered is None:
        yield f"{named}: no such version, or one that was deleted"
        return
    if not each.run_id:
        yield f"{named}: registered by others, from {each.source}"
        return
    yield f"{named}: {each.tags['model']}, {each.tags.get('epochs', '-')} epochs"
    study = each.tags.get("study") or "-"
    try:
        row = records.row(each.run_id)
    except TrackingError as error:
        yield f"  {error}; study {study}"
    else:
        known = [name for name in ("auc", "tpr0", "tpr10") if name in row.metrics]
        yield "  " + (",  ".join(f"{name} {tables.with_interval(row, name)}" for name in known) or "no metrics")
        yield f"  data {row.settings.get('dataset', '-')} ({row.dataset}), study {study}"
    yield f"  run {each.run_id}, registered {each.registered:%Y-%m-%d %H:%M} UTC by {each.tags.get('by', '-')}"
    for note in ("forced", "rolled_back"):
        if note in each.tags:
            yield f"  {note.replace('_', ' ')}: {each.tags[note]}"


def _tell(verdict: Verdict) -> None:
    """Print the conditions and what was found."""
    from rich.console import Console

    from orchestrator.reports import tables

    lines = [[each.what, "yes" if each.passed else "NO", each.told] for each in verdict.checks]
    Console().print(tables.table(["condition", "", "found"], lines))
