"""Shows what a registered model makes of one cutout, and records it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from orchestrator.data.challenge import ImagingSet
from orchestrator.data.fits import read_cutout
from orchestrator.errors import DataError, TrackingError
from orchestrator.learning import features
from orchestrator.learning.intake import prepare
from orchestrator.reports.features import Picture, page, pictures
from orchestrator.tracking import artifacts, runs
from orchestrator.tracking.models import Model


@dataclass(frozen=True)
class Explanation:
    """The score of a cutout, the pictures of what made it, and the run they are recorded in."""

    logit: float
    probability: float
    pictures: list[Picture]
    page: str
    run_id: str


def explain(
    uri: str,
    model: Model,
    images: Sequence[Path],
    layers: tuple[str, ...],
    shown: int,
    device: torch.device,
    experiment: str,
) -> Explanation:
    """Draw and record the feature maps and the attribution of one cutout.

    Args:
        uri: what `model` was loaded from.
        model: as loaded.
        images: a file a band, or the first band's in the challenge's layout.
        layers: convolutions to draw; none means all.
        shown: maps drawn of each at most.
        device: where the model is.
        experiment: to record in.

    Raises:
        DataError: another number of files than bands, or a file that cannot be read.
        RecipeError: no such layer.
        TrackingError: the model is made of several networks.
    """
    network = model.network
    if network is None:
        raise TrackingError(f"{uri}: made around others; look at one network (it is made of: {_members(model)})")
    files = _files(images, model.set)
    flux = torch.from_numpy(read_cutout(files)).to(device)
    normalisation = model.about["normalisation"]
    image = prepare(flux[None], normalisation)[0]
    maps = {name: each.cpu().numpy() for name, each in features.feature_maps(model.finder, flux, layers).items()}
    explained = features.attribution(network, image).cpu().numpy()
    with torch.no_grad():
        scores = {name: float(values[0]) for name, values in model.finder(flux[None]).items()}
    logit = scores["logit"]
    bands = [band.name for band in model.set.bands]
    drawn = pictures(image.cpu().numpy(), bands, maps, explained, shown)
    note = f"{uri}; logit {logit:.4f}; normalised by {normalisation}; each map from its lowest value to its highest"
    text = page(f"What the network sees in {files[0].name}", note, drawn)
    run_id = runs.begin(experiment, "features", f"{uri} on {files[0].name}")
    with runs.running(run_id):
        runs.log_params(run_id, {"explained": uri, "image": str(files[0])})
        runs.log_metrics(run_id, {"logit": logit})
        artifacts.log_text(run_id, text, "features.html")
        artifacts.log_files(run_id, {each.name: each.png for each in drawn}, "pictures")
    return Explanation(logit, scores["probability"], drawn, text, run_id)


def _members(model: Model) -> str:
    return ", ".join(model.about.get("members", []))


def _files(images: Sequence[Path], imaging: ImagingSet) -> list[Path]:
    bands = imaging.bands
    first = images[0]
    if (
        len(images) == 1 < len(bands)
        and first.parent.name == bands[0].folder
        and first.name.startswith(bands[0].prefix)
    ):
        identifier = first.name.removeprefix(bands[0].prefix)
        return [first.parents[1] / band.folder / f"{band.prefix}{identifier}" for band in bands]
    if len(images) != len(bands):
        names = ", ".join(band.name for band in bands)
        raise DataError(f"{first}: {len(images)} images where the model takes {len(bands)} ({names})")
    return list(images)
