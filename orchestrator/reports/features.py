"""Draws what a network sees in an image: the input, a grid of maps for each convolution, and what made the score."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.reports.figures import grid, png

Floats = NDArray[np.float32]

LARGE, SMALL, GAP = 303, 112, 4
"""Pixels along each side of a drawn input and of a drawn map, about, and between them."""

COLUMNS = 4
"""Maps a row."""

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
figure {{ margin: 0 0 1.5rem; display: inline-block; vertical-align: top; margin-right: 1.5rem; }}
img {{ max-width: 100%; image-rendering: pixelated; display: block; }}
figcaption, .note {{ opacity: .75; }}
</style>
<h1>{title}</h1>
<p class="note">{note}</p>
{figures}
</html>
"""


@dataclass(frozen=True)
class Picture:
    """A PNG, the name of its file, and a line about it."""

    name: str
    caption: str
    png: bytes


def pictures(
    image: Floats, bands: list[str], maps: Mapping[str, Floats], explained: Floats, shown: int
) -> list[Picture]:
    """Draw everything.

    Args:
        image: (bands, size, size), normalised.
        bands: their names.
        maps: layer → (maps, h, w).
        explained: (bands, size, size) as from `orchestrator.learning.features.attribution`.
        shown: maps drawn of each layer at most, the first ones.
    """
    limit = float(np.abs(explained).max())
    drawn = [
        Picture("input.png", f"input: {', '.join(bands)}", png(_grid(list(map(_grey, image)), LARGE))),
        Picture(
            "attribution.png",
            "attribution: red towards a lens, blue away from one",
            png(_grid([_signed(band, limit) for band in explained], LARGE)),
        ),
    ]
    for number, (layer, values) in enumerate(maps.items(), start=1):
        count, height, width = values.shape
        caption = f"{layer}: {min(shown, count)} of {count} maps, {height} × {width} pixels each"
        name = f"{number:02d}-{layer.replace('.', '-')}.png"
        drawn.append(Picture(name, caption, png(_grid([_grey(each) for each in values[:shown]], SMALL))))
    return drawn


def page(title: str, note: str, drawn: list[Picture]) -> str:
    """All pictures in one HTML page that needs nothing else."""
    figures = "\n".join(
        f'<figure><img alt="{html.escape(each.caption)}" src="data:image/png;base64,'
        f'{base64.b64encode(each.png).decode()}"><figcaption>{html.escape(each.caption)}</figcaption></figure>'
        for each in drawn
    )
    return PAGE.format(title=html.escape(title), note=html.escape(note), figures=figures)


def _grey(values: Floats) -> NDArray[np.uint8]:
    """From the lowest value in black to the highest in white: (h, w, 3)."""
    low, high = float(values.min()), float(values.max())
    grey = np.round(255 * (values - low) / (high - low if high > low else 1)).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)


def _signed(values: Floats, limit: float) -> NDArray[np.uint8]:
    """Blue below 0, white at 0, red above: (h, w, 3)."""
    share = np.clip(values / (limit if limit > 0 else 1), -1, 1)
    colour = np.stack([1 + np.minimum(share, 0), 1 - np.abs(share), 1 - np.maximum(share, 0)], axis=-1)
    return np.round(255 * colour).astype(np.uint8)


def _grid(maps: list[NDArray[np.uint8]], side: int) -> NDArray[np.uint8]:
    """Lay maps out in rows, each enlarged to about `side` without smoothing."""
    zoom = max(1, round(side / maps[0].shape[0]))
    large = np.stack(maps).repeat(zoom, axis=1).repeat(zoom, axis=2)
    return grid(large, min(COLUMNS, len(large)), GAP)
