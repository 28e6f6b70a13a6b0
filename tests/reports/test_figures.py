"""Figures: the ROC page, and contact sheets of cutouts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from orchestrator.learning.metrics import roc
from orchestrator.reports.figures import contact_sheet, contact_sheet_of, roc_page, roc_points


def test_the_points_of_a_curve_are_its_corners() -> None:
    points = roc_points(roc([1, 0, 1, 0], [3.0, 2.0, 2.0, -1.0]))
    assert points == {"fpr": [0, 0, 0.5, 1], "tpr": [0, 0.5, 1, 1], "threshold": [None, 3, 2, -1]}


def test_the_page_names_the_curve_and_switches_its_axis() -> None:
    page = roc_page(roc([1, 0, 1, 0], [3.0, 2.0, 2.0, -1.0]), "lens_flow, 5 epochs")
    assert "lens_flow, 5 epochs" in page
    assert "AUC 0.8750" in page
    assert "logarithmic" in page


def test_a_sheet_lays_cutouts_out_in_rows_with_the_first_row_of_pixels_below(tmp_path: Path) -> None:
    cutouts = np.zeros((3, 4, 4), np.float32)
    cutouts[0, 0] = 1  # FITS counts rows upwards
    contact_sheet(cutouts, 2, tmp_path / "sheet.png")
    sheet = np.array(Image.open(tmp_path / "sheet.png"))
    assert sheet.shape[2] == 3
    assert sheet.shape[0] >= 8
    assert sheet.shape[1] >= 8
    assert (sheet[3, :4] == 255).all()
    assert (sheet[0, :4] == 0).all()


@pytest.mark.parametrize("normalisation", ["zscale", "asinh"])
def test_a_set_is_shown_with_its_lenses_first(small_ground: Path, tmp_path: Path, normalisation: str) -> None:
    contact_sheet_of(small_ground, 5, 4, normalisation, tmp_path / "sheet.png")
    sheet = np.array(Image.open(tmp_path / "sheet.png")).astype(int)
    rows = round(sheet.shape[0] / 104)
    assert rows == 4  # two of lenses, two of others
    assert np.ptp(sheet[:101, :101], axis=2).max() > 20  # in colours


def test_the_real_cutouts_are_shown(challenge1: Path, tmp_path: Path) -> None:
    for name in ("space", "ground"):
        contact_sheet_of(challenge1 / name, 8, 4, "zscale", tmp_path / f"{name}.png")
        assert np.array(Image.open(tmp_path / f"{name}.png")).std() > 20
