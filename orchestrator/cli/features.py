"""The command that shows what a model sees in a cutout."""

from __future__ import annotations

from pathlib import Path

import click

from orchestrator.cli import options


@click.command()
@click.option("--model", metavar="URI", required=True, help="Such as models:/lens-finder-space@champion.")
@click.option(
    "--image",
    "images",
    type=click.Path(path_type=Path),
    required=True,
    multiple=True,
    help="FITS file; for Ground one a band in the order R, I, G, U, or R's alone in the challenge's layout.",
)
@click.option("--layers", default="all", metavar="all|NAME,…", help="Convolutions, by their names in the network.")
@click.option("--maps", default="16", metavar="N|all", help="Maps drawn of each.")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), default=Path("features"), help="Folder to write to."
)
@options.device
@options.tracking_uri
def features(
    model: str,
    images: tuple[Path, ...],
    layers: str,
    maps: str,
    out: Path,
    device: str | None,
    tracking_uri: str | None,
) -> None:
    """Draw the feature maps of a model for a cutout, and which pixels made its score.

    Writes a PNG for each convolution and a page with all of them, and records all.
    """
    from orchestrator.data.whole import write
    from orchestrator.learning import devices
    from orchestrator.studies import explanation
    from orchestrator.tracking import leftovers, models, store

    if maps != "all" and not (maps.isdecimal() and int(maps) > 0):
        raise click.BadParameter(f"'{maps}': a number above 0, or all", param_hint="--maps")
    chosen = devices.choose(device)
    leftovers.connect(tracking_uri)
    loaded = models.load(model, chosen)
    names = () if layers == "all" else tuple(layers.split(","))
    shown = 10**6 if maps == "all" else int(maps)
    made = explanation.explain(model, loaded, images, names, shown, chosen, store.experiment("features"))
    for picture in made.pictures:
        write(out / picture.name, picture.png)
    write(out / "features.html", made.page)
    click.echo(f"logit {made.logit:.4f}, probability {made.probability:.4f}")
    click.echo(f"{len(made.pictures)} pictures and {out / 'features.html'}; recorded as run {made.run_id}")
