"""Commands that make, check and show sets of cutouts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from orchestrator.cli.progress import bar, follow
from orchestrator.errors import DataError

if TYPE_CHECKING:
    from orchestrator.data.challenge import Release
    from orchestrator.data.check import Checked

SHOWN, IDS_A_LINE = 20, 10
"""Findings of each kind that `check` prints without --all, and identifiers it prints on a line."""


@click.group()
def data() -> None:
    """Make, check and look at sets of cutouts."""


@data.command()
@click.option(
    "--set", "imaging", metavar="space|ground", required=True, help="One band as Euclid's, or four as KiDS's."
)
@click.option("--count", type=click.IntRange(1), default=2000, help="Objects in all; a larger one extends the set.")
@click.option("--seed", type=click.IntRange(0), default=1, help="The same seed gives the same objects.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write to.")
@click.option("--difficulty", type=float, default=0.0, help="Magnitudes by which sources are fainter.")
@click.option(
    "--labels", type=click.Choice(["key", "catalogue"]), default="key", help="Training key or test catalogue."
)
@click.option("--workers", type=click.IntRange(1), help="Processes.  [default: one per core]")
def simulate(
    imaging: str,
    count: int,
    seed: int,
    out: Path,
    difficulty: float,
    labels: Literal["key", "catalogue"],
    workers: int | None,
) -> None:
    """Make a labelled set that looks like the challenge's, in its very layout.

    Run again after an interruption it goes on where it stopped.
    """
    from orchestrator.data import challenge, simulation

    made = simulation.simulate(
        out,
        challenge.named(imaging),
        count,
        seed,
        difficulty=difficulty,
        labels=labels,
        workers=workers,
    )
    follow(f"Simulating {out}", ((done, count) for done in made))
    click.echo(f"{out}: {count:,} {imaging} objects")


@data.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--all", "everything", is_flag=True, help=f"Name every finding, not {SHOWN} of each kind.")
@click.option("--against", type=click.Path(path_type=Path), help="Another set: name the objects that are in both.")
@click.option("--json", "as_json", is_flag=True, help="Print all findings as JSON.")
@click.option("--html", "page", type=click.Path(path_type=Path, dir_okay=False), help="Write a page of it too.")
def check(folder: Path, everything: bool, against: Path | None, as_json: bool, page: Path | None) -> None:
    """Read every cutout of a set, and name what is unreadable, suspect or incomplete.

    Also copies, labels that contradict each other, and, with --against, what a training and a test set share.
    """
    from orchestrator.data import catalogue, challenge, check

    release = challenge.scan(folder)
    other = challenge.scan(against) if against else None
    if other and other.set != release.set:
        raise DataError(f"{against}: a {other.set.name} set (allowed: one of {release.set.name}, as {folder} is)")
    labels = catalogue.read_labels(folder, release.set)
    checked = _checked(release)
    report = check.report(release, labels, checked, (other, _checked(other)) if other else None)
    document = report.document(str(folder), release.set)
    if page:
        from orchestrator.data.whole import write
        from orchestrator.reports import check as pages

        write(page, pages.page(document))
    if as_json:
        click.echo(json.dumps(document, indent=1, allow_nan=False))
        return
    click.echo(
        f"{folder}: {report.objects:,} {release.set.name} objects: {report.lenses:,} lenses, {report.others:,} others"
    )
    masked = ", ".join(f"{band} {count:,}" for band, count in report.masked_pixels.items())
    click.echo(f"  masked pixels: {masked} (in {report.masked_objects:,} objects)")
    noise = ", ".join(f"{band} {median:.3g}" for band, (_, median, _) in report.noise.items())
    click.echo(f"  noise a pixel, median: {noise}")
    reasons = {"unreadable": report.unreadable, "suspect": report.suspect, "incomplete": report.incomplete}
    reasons["with labels that contradict each other"] = report.contradictions
    if report.overlap:
        shared = tuple((each.id, f"{each.how} as {each.other}") for each in report.overlap.shared)
        reasons[f"also in {report.overlap.folder}"] = shared
    named = {"without a label": report.unlabelled, "with a label and no files": report.missing}
    findings = [(what, [f"{each}: {reason}" for each, reason in found], 1) for what, found in reasons.items()]
    findings += [(what, list(map(str, found)), IDS_A_LINE) for what, found in named.items()]
    for what, found, a_line in findings:
        shown = found if everything else found[:SHOWN]
        if found:
            click.echo(f"  {len(found):,} {what}:")
        for start in range(0, len(shown), a_line):
            click.echo(f"    {', '.join(shown[start : start + a_line])}")
        if len(found) > len(shown):
            click.echo(f"    … and {len(found) - len(shown):,} more (--all names them)")
    if report.clean:
        click.echo("  nothing to report")


def _checked(release: Release) -> list[Checked]:
    from orchestrator.data import check

    checked = []
    with bar(f"Checking {release.root}", len(release.objects)) as say:
        for each in check.check(release):
            checked.append(each)
            say(len(checked))
    return checked


@data.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="PNG file to write.")
@click.option("--count", type=click.IntRange(1), default=24, help="Cutouts of each class.")
@click.option("--columns", type=click.IntRange(1), default=8, help="Cutouts a row.")
@click.option("--normalisation", metavar="NAME", default="zscale", help="How pixels become grey: zscale or asinh.")
def show(folder: Path, out: Path, count: int, columns: int, normalisation: str) -> None:
    """Draw a contact sheet: the first lenses above, the first others below."""
    from orchestrator.reports import figures

    figures.contact_sheet_of(folder, count, columns, normalisation, out)
    click.echo(out)
