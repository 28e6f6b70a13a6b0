"""The command that scores a survey's cutouts with a registered model."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli import options
from orchestrator.cli.progress import follow_many

if TYPE_CHECKING:
    from orchestrator.reports.scorefile import Summary


@click.command()
@click.option("--model", metavar="URI", required=True, help="Such as models:/lens-finder-ground@champion.")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="PATH",
    required=True,
    help="A folder of FITS files, a list of them (.txt), a catalogue with their paths (CSV, TSV, ECSV, VOTable, FITS or"
    " Parquet), or a stack of images (.h5).",
)
@click.option(
    "--out",
    type=click.Path(),
    metavar="FILE|FOLDER/",
    required=True,
    help="File to write, .parquet or .csv; or with / at its end a folder of Parquet files, of a million cutouts each.",
)
@click.option("--hdu", metavar="N|NAME,…", help="HDU to read of every file, or one a band; of a stack its dataset.")
@click.option("--resize", is_flag=True, help="Crop larger cutouts around their centre, and pad smaller ones.")
@options.prevalence
@click.option("--top", type=click.IntRange(1), help="Write a page with pictures of so many best candidates too.")
@click.option("--overwrite", is_flag=True, help="Replace --out, and what another scoring began there.")
@click.option("--resume", is_flag=True, help="Be content where --out is there, made of the same model and files.")
@options.engine
@options.address
@click.option("--device", metavar="NAME", help="cuda, mps, cpu, or all: every GPU.  [default: the best there is]")
@click.option(
    "--runtime",
    type=click.Choice(["torch", "openvino"]),
    help="What computes on a CPU.  [default: openvino for 2,000 cutouts or more, with the extra fast]",
)
@options.tracking_uri
def score(
    model: str,
    data: Path,
    out: str,
    hdu: str | None,
    resize: bool,
    prevalence: float | None,
    top: int | None,
    overwrite: bool,
    resume: bool,
    engine: str,
    address: str | None,
    device: str | None,
    runtime: str | None,
    tracking_uri: str | None,
) -> None:
    """Score cutouts by the thousand or million, and rank them.

    A cutout that cannot be scored is a row that says why. With --prevalence, probabilities are at that share of lenses;
    logits and ranks stay. An interrupted scoring goes on when the command is given again, and scores anew where files
    have changed. Beside a CSV, FILE.csv.json says what it was made of, and by what it was computed.
    """
    import torch

    from orchestrator.data import sources
    from orchestrator.data.whole import write
    from orchestrator.learning import devices
    from orchestrator.studies import scoring
    from orchestrator.tracking import direct

    if engine == "ray" and (device or runtime):
        option = "--device" if device else "--runtime"
        raise click.UsageError(f"{option} is of this machine (allowed with --engine local)")
    nodes = options.connected(engine, {"--address": address})
    share = None
    if nodes:
        from orchestrator.studies import cluster, cluster_scoring

        share = cluster.share_out(nodes, None if any(node.gpus for node in nodes) else len(nodes), None)
    several = devices.every() if device == "all" else [devices.choose("cpu" if share else device)]  # or the nodes' own
    chosen = several[0]
    uri, loaded = "", None if share else direct.load(model, chosen, tracking_uri)
    if loaded is None:
        from orchestrator.tracking import models, store

        uri = store.connect(tracking_uri)
        loaded = models.load(model, chosen)
    units = tuple(int(each) if each.isdecimal() else each for each in hdu.split(",")) if hdu else ()
    source = sources.find(data, loaded.set, units, resize=resize)
    tell = functools.partial(click.echo, err=True)
    scorers = torch.device("cuda") if share and share.gpus else chosen
    others = [(scoring.at(loaded.on(each), model, prevalence), each) for each in several[1:]]
    loaded, runtime = scoring.computed(loaded, source, chosen, scoring.TORCH if share else runtime, tell)
    loaded = scoring.at(loaded, model, prevalence)
    settings = {"hdu": hdu or "", "resize": str(resize), "prevalence": str(prevalence)}
    many = out.endswith(("/", os.sep))
    kept = scoring.parts(loaded, source, scorers, Path(out), settings, runtime, many)
    with kept.opened(overwrite, resume) as begun:
        if begun:
            progress = scoring.score(loaded, source, chosen, kept, others)
            if share is not None:
                order = cluster_scoring.Order(
                    model, uri, data, units, resize, prevalence, (loaded.digest, source.digest())
                )
                progress = cluster_scoring.score(order, share, kept, tell)
            follow_many("Scoring", len(source), progress)
            _tell(kept.finish())
    click.echo(f"scores with {loaded.version}: {out}")
    if top:
        page = kept.out.with_name(f"{kept.out.name if kept.many else kept.out.stem}.html")
        write(page, scoring.candidates(loaded, source, kept.out, top))
        click.echo(f"the best as pictures: {page}")


def _tell(summary: Summary) -> None:
    click.echo(f"{summary.objects:,} cutouts, {summary.objects - summary.bad:,} of them scored")
    for reason in summary.reasons:
        click.echo(f"  {reason}")
    if summary.bad > len(summary.reasons):
        click.echo(f"  and {summary.bad - len(summary.reasons):,} more, see the column reason")
