"""Draws the figures a person looks at: plotly pages, and contact sheets of cutouts."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from orchestrator.data.catalogue import read_labels
from orchestrator.data.challenge import scan
from orchestrator.data.fits import read_cutout
from orchestrator.data.normalise import prepare
from orchestrator.data.whole import write
from orchestrator.errors import DataError, UnreadableCutout
from orchestrator.learning.metrics import Roc, auc


def roc_points(curve: Roc) -> dict[str, list[float]]:
    """The corners of a curve, for a machine; the first threshold accepts nothing and is written as None."""
    thresholds = [None, *curve.thresholds[1:].tolist()]
    return {"fpr": curve.fpr.tolist(), "tpr": curve.tpr.tolist(), "threshold": thresholds}


def roc_page(curve: Roc, title: str) -> str:
    """An HTML page with the ROC curve, its false-positive axis linear or logarithmic; shown without any network."""
    import plotly.graph_objects as go

    label = f"AUC {auc(curve):.4f}"
    figure = go.Figure(go.Scatter(x=curve.fpr, y=curve.tpr, mode="lines", line_shape="linear", name=label))
    lowest = 0.5 / max(curve.negatives, 1)
    scales = [
        {"label": "linear", "method": "relayout", "args": [{"xaxis.type": "linear", "xaxis.range": [0, 1]}]},
        {
            "label": "logarithmic",
            "method": "relayout",
            "args": [{"xaxis.type": "log", "xaxis.range": [np.log10(lowest), 0]}],
        },
    ]
    figure.update_layout(
        title=f"{title}: {label}",
        xaxis_title="false-positive rate",
        yaxis_title="true-positive rate",
        xaxis_range=[0, 1],
        yaxis_range=[0, 1.01],
        updatemenus=[{"type": "buttons", "direction": "right", "x": 1, "y": 1.12, "buttons": scales}],
    )
    return str(figure.to_html(include_plotlyjs=True))


def contact_sheet_of(root: Path, count: int, columns: int, normalisation: str, path: Path) -> None:
    """Write a contact sheet of a set: its first lenses, then its first others.

    Args:
        root: a folder in the challenge's layout.
        count: cutouts of each class.
        columns: cutouts a row.
        normalisation: ``zscale`` shows one set's grey levels as they are trained on; Ground is shown in colours, I, R
            and G as red, green and blue.
        path: the PNG file to write.

    Raises:
        DataError: no set there, or no labelled cutout that can be read.
    """
    release = scan(root)
    labels = read_labels(root, release.set).labels
    shown: dict[int, list[NDArray[np.float32]]] = {1: [], 0: []}
    for files in release.objects:
        of_class = shown.get(labels.get(files.id, -1))
        if of_class is None or len(of_class) == count:
            continue
        with contextlib.suppress(UnreadableCutout):
            of_class.append(read_cutout(files.paths))
    if not any(shown.values()):
        raise DataError(f"{root}: no cutout here has a label and can be read")
    blocks = []
    for cutouts in filter(None, shown.values()):
        images, _ = prepare(np.stack(cutouts), normalisation)
        blank = np.ones((-len(images) % columns, *images.shape[1:]), np.float32)
        blocks.append(np.concatenate([_stretched(images), blank]))
    bands = [band.name for band in release.set.bands]
    contact_sheet(_colours(np.concatenate(blocks), bands), columns, path)


def portraits(images: NDArray[np.float32], bands: list[str]) -> NDArray[np.uint8]:
    """Normalised cutouts (n, bands, h, w) as pictures (n, h, w, 3): grey, or I, R and G as red, green and blue."""
    if not len(images):
        return np.zeros((0, *images.shape[2:], 3), np.uint8)
    colours = _colours(_stretched(images), bands)
    return _bytes(colours if colours.ndim == 4 else np.repeat(colours[..., None], 3, axis=-1))


def png(picture: NDArray[np.uint8]) -> bytes:
    """A picture (h, w, 3) as a file."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG", optimize=True)
    return file.getvalue()


def _bytes(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.round(255 * np.clip(values, 0, 1)).astype(np.uint8)


def _colours(images: NDArray[np.float32], bands: list[str]) -> NDArray[np.float32]:
    """(n, h, w) of one band; of several (n, h, w, 3)."""
    return images[:, 0] if len(bands) == 1 else images[:, [bands.index(name) for name in "IRG"]].transpose(0, 2, 3, 1)


def _stretched(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Bring what a normalisation leaves to [0, 1], all of an image's bands together: colours stay."""
    low, high = np.percentile(images, (0.5, 99.8), axis=(1, 2, 3), keepdims=True)
    stretched: NDArray[np.float32] = (images - low) / np.where(high > low, high - low, 1)
    return stretched


def contact_sheet(cutouts: NDArray[np.float32], columns: int, path: Path) -> None:
    """Write a PNG of many cutouts side by side.

    Args:
        cutouts: (n, h, w) grey or (n, h, w, 3) red, green, blue; from 0 to 1.
        columns: cutouts a row.
        path: the file to write.
    """
    colours = cutouts if cutouts.ndim == 4 else np.repeat(cutouts[..., None], 3, axis=-1)
    write(path, png(grid(_bytes(colours), columns, 3)))


def grid(images: NDArray[np.uint8], columns: int, gap: int) -> NDArray[np.uint8]:
    """Lay images (n, h, w, 3) out in rows on white, each the way up that FITS counts its pixel rows: upwards."""
    count, height, width = images.shape[:3]
    rows = -(-count // columns)
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, np.uint8)
    for n, each in enumerate(images[:, ::-1]):
        top, left = n // columns * (height + gap), n % columns * (width + gap)
        sheet[top : top + height, left : left + width] = each
    return sheet
