"""Draws the figures a person looks at: plotly pages, and contact sheets of cutouts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from orchestrator.learning.metrics import Roc, auc


def roc_points(curve: Roc) -> dict[str, list[float]]:
    """The corners of a curve, for a machine; the first threshold accepts nothing and is written as None."""
    thresholds = [None, *curve.thresholds[1:].tolist()]
    return {"fpr": curve.fpr.tolist(), "tpr": curve.tpr.tolist(), "threshold": thresholds}


def roc_page(curve: Roc, title: str) -> str:
    """An HTML page with the ROC curve, its false-positive axis linear or logarithmic."""
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
    return str(figure.to_html(include_plotlyjs="cdn"))


def contact_sheet(cutouts: NDArray[np.float32], columns: int, path: Path) -> None:
    """Write a PNG of many cutouts side by side.

    Args:
        cutouts: (n, h, w) grey or (n, h, w, 3) red, green, blue; from 0 to 1.
        columns: cutouts a row.
        path: the file to write.
    """
    from PIL import Image

    count, height, width = cutouts.shape[:3]
    rows, gap = -(-count // columns), 3
    colours = cutouts if cutouts.ndim == 4 else np.repeat(cutouts[..., None], 3, axis=-1)
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, np.uint8)
    for n, each in enumerate(np.clip(colours, 0, 1)):
        top, left = n // columns * (height + gap), n % columns * (width + gap)
        sheet[top : top + height, left : left + width] = np.round(255 * each[::-1])  # FITS counts rows upwards
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(sheet).save(path)
