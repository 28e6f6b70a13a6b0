"""The command that writes a study's report."""

from __future__ import annotations

from pathlib import Path

import click

from orchestrator.cli import options


@click.command()
@click.option("--study", metavar="NAME", required=True, help="A study, or train-space or train-ground.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="HTML file.  [default: NAME.html]")
@options.tracking_uri
@click.pass_context
def report(context: click.Context, study: str, out: Path | None, tracking_uri: str | None) -> None:
    """Write all of a study on one page: tables, curves, the worst mistakes, and what it takes to repeat it.

    The page needs nothing else, and is made of what is recorded in MLflow alone; it is attached to the study's run.
    The exit status is 1 where files that are to be shown are gone.
    """
    from orchestrator.data.whole import write
    from orchestrator.errors import without_password
    from orchestrator.reports import report as reports
    from orchestrator.tracking import artifacts, records, store

    uri = without_password(store.connect(tracking_uri))
    found = records.results(study)
    text = reports.page(found)
    path = out or Path(f"{study}.html")
    write(path, text)
    run_id = records.find_study(study)
    if run_id is not None:
        artifacts.log_text(run_id, text, "report.html")
    click.echo(f"{path}" + (f", and attached to run {run_id}" if run_id else ""))
    bare = [row.run_id for row in found.shown if row.run_id not in found.roc]
    if bare:
        told = f"{len(bare)} of {len(found.shown)} rows have no files, and no pictures in the report: {', '.join(bare)}"
        click.echo(f"{told}\nThey are not where {uri} says; `orchestrator doctor` may know more.", err=True)
        context.exit(1)
