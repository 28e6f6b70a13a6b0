"""Pictures of feature maps."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
from PIL import Image

from orchestrator.reports.features import page, pictures


def test_a_layer_is_a_grid_of_its_first_maps_each_from_black_to_white() -> None:
    image, explained = np.zeros((2, 101, 101), np.float32), np.zeros((2, 101, 101), np.float32)
    explained[0, 0, 0], explained[1, 0, 0] = 2.0, -1.0
    maps = {"features.0": np.linspace(-3, 9, 20 * 25, dtype=np.float32).reshape(20, 5, 5)}
    drawn = pictures(image, ["R", "I"], maps, explained, 8)
    assert [each.name for each in drawn] == ["input.png", "attribution.png", "01-features-0.png"]
    assert drawn[2].caption == "features.0: 8 of 20 maps, 5 × 5 pixels each"
    grid = np.array(Image.open(io.BytesIO(drawn[2].png)))
    assert grid.shape == (2 * 110 + 4, 4 * 110 + 3 * 4, 3)
    assert (grid[109, 0] == 0).all()  # the first value, below, since FITS counts rows upwards
    assert (grid[0, 109] == 255).all()
    colours = np.array(Image.open(io.BytesIO(drawn[1].png)))
    assert colours[302, 0].tolist() == [255, 0, 0]
    assert colours[302, 307].tolist() == [128, 128, 255]


def test_the_page_holds_every_picture_and_needs_nothing_else() -> None:
    image = np.zeros((1, 101, 101), np.float32)
    drawn = pictures(image, ["VIS"], {"a": np.ones((3, 9, 9), np.float32)}, image, 16)
    text = page("cutout <1>", "note & more", drawn)
    assert [base64.b64decode(each) for each in re.findall(r"base64,([^\"]+)", text)] == [each.png for each in drawn]
    assert "cutout &lt;1&gt;" in text
    assert "http" not in text
