"""Normalisations as torch: those of the data path, number by number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from orchestrator.data import normalise
from orchestrator.data.challenge import SIZE, scan
from orchestrator.data.fits import read_cutout
from orchestrator.learning import intake
from tests.data.test_normalise import KINDS

NAMES = list(normalise.NORMALISATIONS)


def agrees(raw: NDArray[np.float32], name: str) -> None:
    expected, _ = normalise.prepare(raw, name)
    np.testing.assert_allclose(intake.prepare(torch.from_numpy(raw), name).numpy(), expected, rtol=1e-5, atol=1e-6)


def trouble() -> NDArray[np.float32]:
    """Two bands with what files hold beside flux."""
    raw = np.random.default_rng(3).normal(0, 1e-12, (6, 2, SIZE, SIZE)).astype(np.float32)
    raw[0, 0, 3:9] = normalise.MASKED
    raw[1, 1, :, :5] = np.nan
    raw[2] = np.inf
    raw[3, 0, 50:] = 1e35
    raw[4] = normalise.MASKED
    return raw


def test_both_have_the_same_names() -> None:
    assert list(intake.NORMALISATIONS) == NAMES


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", KINDS)
def test_torch_gives_what_the_data_path_gives(name: str, kind: str) -> None:
    rng = np.random.default_rng(len(kind))
    images = np.stack([KINDS[kind](rng) for _ in range(10)]).astype(np.float32)
    agrees(images[:, None], name)
    agrees((images * 1e-12)[:, None], name)


@pytest.mark.parametrize("name", NAMES)
def test_pixels_without_a_measurement_are_treated_alike(name: str) -> None:
    agrees(trouble(), name)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("folder", ["space", "ground"])
def test_real_cutouts_are_treated_alike(challenge1: Path, folder: str, name: str) -> None:
    agrees(np.stack([read_cutout(each.paths) for each in scan(challenge1 / folder).objects]), name)


@pytest.mark.parametrize("name", NAMES)
def test_an_image_is_treated_the_same_in_any_company(name: str) -> None:
    raw = torch.from_numpy(trouble())
    together = intake.prepare(raw, name)
    for number in range(len(raw)):
        torch.testing.assert_close(intake.prepare(raw[number : number + 1], name)[0], together[number], rtol=0, atol=0)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("unit", [1e-30, 1e-12, 1e20])
def test_neither_the_unit_nor_one_enormous_pixel_costs_digits(name: str, unit: float) -> None:
    raw = np.random.default_rng(8).normal(0, unit, (40, 1, SIZE, SIZE)).astype(np.float32)
    agrees(raw, name)
    raw[:20, 0, 50, 50], raw[10:30, 0, 50, 0] = 9e29, -9e29  # both among those that ZScale looks at
    agrees(raw, name)
