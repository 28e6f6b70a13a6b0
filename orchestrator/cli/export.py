"""The command that writes a model to a file."""

from __future__ import annotations

from pathlib import Path

import click

from orchestrator.cli import options


@click.command()
@click.option("--model", metavar="URI", required=True, help="Such as models:/lens-finder-space@champion.")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="File that ends in .onnx or .pt2."
)
@options.tracking_uri
def export(model: str, out: Path, tracking_uri: str | None) -> None:
    """Write a model to a file: raw flux (n, bands, 101, 101) to logit and probability, normalisation included.

    ONNX is compared with the recorded graph on simulated cutouts before it is kept.
    """
    from orchestrator.studies import export as exports
    from orchestrator.tracking import store

    store.connect(tracking_uri)
    difference = exports.export(model, out)
    click.echo(f"{out}: {out.stat().st_size / 1e6:.1f} MB, scores within {difference:.1g} of the recorded graph's")
