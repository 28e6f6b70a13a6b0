"""Completeness: the share of lenses found, bin by bin."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import binomtest

from orchestrator.learning.completeness import ARCSECONDS, BINS, completeness
from orchestrator.learning.metrics import measure_curve, roc


def scored(lenses: int = 400, others: int = 300) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits of lenses that grow with their brightness, that brightness, and logits of others."""
    rng = np.random.default_rng(0)
    brightness = rng.lognormal(0, 1, lenses)
    return np.log(brightness) + rng.normal(0, 0.5, lenses), brightness, rng.normal(-1, 1, others)


def test_every_lens_is_in_one_bin_and_the_bins_add_up_to_the_rates_of_the_whole() -> None:
    logits, brightness, others = scored()
    curve = roc(np.repeat([1, 0], [400, 300]), np.concatenate([logits, others]))
    found = completeness({"arc_snr": brightness}, logits, curve)["arc_snr"]
    for metric in ("tpr", "tpr10"):
        bins = found[metric]
        assert len(bins) == BINS
        assert sum(each.lenses for each in bins) == 400
        assert sum(each.found for each in bins) / 400 == pytest.approx(measure_curve(curve)[metric])
        assert all(before.high <= after.low for before, after in itertools.pairwise(bins))
        assert max(each.lenses for each in bins) - min(each.lenses for each in bins) <= 1
    assert found["tpr"][0].found / found["tpr"][0].lenses < 0.1 < 0.9 < found["tpr"][-1].found / found["tpr"][-1].lenses


def test_the_radius_is_the_truths_or_else_that_of_the_keys_area() -> None:
    logits = np.array([1.0, -1.0, 2.0])
    curve = roc([1, 1, 1, 0], [*logits, -2.0])
    area = np.pi * (np.array([0.5, 1.0, 2.0]) / ARCSECONDS) ** 2
    (only_key,) = completeness({"Einstein_area": area}, logits, curve).values()
    assert only_key["tpr"][0].low == pytest.approx(0.5)
    assert only_key["tpr"][-1].high == pytest.approx(2.0)
    (both,) = completeness({"Einstein_area": area, "theta_E": np.array([3.0, 4, 5])}, logits, curve).values()
    assert both["tpr"][0].low == 3


def test_many_equal_values_share_a_bin_and_unknown_ones_are_left_out() -> None:
    logits = np.linspace(-1, 1, 100)
    pixels = np.where(np.arange(100) < 60, 0.0, np.arange(100.0))
    pixels[-1] = np.nan
    curve = roc(np.append(np.ones(100), 0), np.append(logits, 0.0))
    bins = completeness({"numb_pix_lensed_image": pixels}, logits, curve)["lensed_pixels"]["tpr"]
    assert (bins[0].low, bins[0].lenses) == (0, 60)
    assert sum(each.lenses for each in bins) == 99


def test_nothing_is_said_of_what_is_not_known() -> None:
    curve = roc([1, 0], [1.0, 0.0])
    assert completeness({"mag_lens": np.array([20.0])}, np.array([1.0]), curve) == {}
    assert completeness({"theta_E": np.array([np.nan])}, np.array([1.0]), curve) == {}


def test_the_interval_of_a_bin_is_scipys_exact_one() -> None:
    logits, brightness, others = scored()
    curve = roc(np.repeat([1, 0], [400, 300]), np.concatenate([logits, others]))
    for each in completeness({"arc_snr": brightness}, logits, curve)["arc_snr"]["tpr10"]:
        expected = binomtest(each.found, each.lenses).proportion_ci(method="exact")
        assert (each.lowest, each.highest) == pytest.approx((expected.low, expected.high))
