"""The command that measures anybody's finder by its scores."""

from __future__ import annotations

from pathlib import Path

import click

from orchestrator.cli import options

NAMED = 5
"""Identifiers of each kind that are printed."""


@click.command()
@click.argument("scores", type=click.Path(path_type=Path))
@click.option("--labels", type=click.Path(path_type=Path), metavar="KEY", help="File with the labels, if another.")
@click.option(
    "--label",
    metavar="COLUMN",
    help="Labels: 1 a lens, 0 none; no_source the other way.  [default: is_lens, no_source]",
)
@click.option("--score", default="logit", metavar="COLUMN", help="Scores: higher is more lens-like.")
@click.option(
    "--id", "identifier", default="ID", metavar="COLUMN", help="Identifiers, in both files; in one without it, ID."
)
@click.option(
    "--scale", type=click.Choice(["auto", "probability", "logit"]), default="auto",
    help="auto: probabilities if all lie from 0 to 1, unless the column is called logit.",
)  # fmt: skip
@click.option("--grid", is_flag=True, help="Also walk thresholds as published numbers did; of probabilities.")
@click.option("--log", "name", metavar="NAME", help="Put the finder into a study's table under this name.")
@click.option("--study", metavar="NAME", help="The study, for --log.")
@options.tracking_uri
@click.option("--json", "in_json", is_flag=True, help="For a machine, with every digit.")
def metrics(
    scores: Path,
    labels: Path | None,
    label: str | None,
    score: str,
    identifier: str,
    scale: str,
    grid: bool,
    name: str | None,
    study: str | None,
    tracking_uri: str | None,
    in_json: bool,
) -> None:
    """Measure a list of scores, CSV or any other table, with the same exact metrics and their confidence intervals."""
    from orchestrator.data import scorelist
    from orchestrator.data.columns import bare
    from orchestrator.json_text import as_json
    from orchestrator.learning.bootstrap import intervals
    from orchestrator.learning.metrics import GRIDS, measure_curve, measure_on_grid, roc
    from orchestrator.reports import tables

    if (name is None) != (study is None):
        raise click.UsageError("--log NAME and --study NAME go together")
    read = scorelist.read(scores, score, label, key=labels, identifier=identifier)
    within = bool(((read.scores >= 0) & (read.scores <= 1)).all())
    probabilities = scale == "probability" or (scale == "auto" and within and bare(score)[0] != "logit")
    if (probabilities or grid) and not within:
        raise click.BadParameter(
            f"{score} of {scores} has values outside 0 to 1: no probabilities", param_hint="--scale"
        )
    curve = roc(read.labels, read.scores, half=0.5 if probabilities else 0.0)
    values, limits = measure_curve(curve), intervals(curve)
    walked = {mode: measure_on_grid(read.labels, read.scores, mode) for mode in GRIDS} if grid else {}
    if name is not None and study is not None:
        from orchestrator.studies import foreign
        from orchestrator.tracking import leftovers

        leftovers.connect(tracking_uri)
        run_id = foreign.record(name, study, read, curve)
        click.echo(f"recorded in the table of {study} as run {run_id}", err=True)
    left_out = {"without a score": read.unscored, "without a label": read.unlabelled, "repeated": read.repeated}
    if in_json:
        told = {"lenses": curve.positives, "others": curve.negatives, **values, "intervals": limits, "grids": walked}
        click.echo(as_json({**told, "left_out": left_out}, indent=1))
        return
    click.echo(
        f"{curve.positives:,} lenses, {curve.negatives:,} others; {'probabilities' if probabilities else 'logits'}"
    )
    for what, ids in left_out.items():
        if ids:
            click.echo(f"  {len(ids):,} {what}: {', '.join(ids[:NAMED])}{', …' if len(ids) > NAMED else ''}")
    if not (curve.positives and curve.negatives):
        click.echo(
            f"  no {'others' if curve.positives else 'lenses'}: what needs them is not defined, and shown as nan"
        )
    for line in tables.lines(values, limits):
        click.echo(line)
    for mode, found in walked.items():
        click.echo(f"{mode}: " + ", ".join(f"{name} {value:.4f}" for name, value in found.items()))
