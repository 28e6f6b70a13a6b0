from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.stats import mad_std
from astropy.visualization import ZScaleInterval
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.random import Generator
from numpy.typing import NDArray

from orchestrator.data.challenge import MASKED, SIZE
from orchestrator.data.normalise import NORMALISATIONS, asinh, none, prepare, unmeasured, zscale, zscale_limits

Image = NDArray[np.float32]
SHAPE = (SIZE, SIZE)

KINDS: dict[str, Callable[[Generator], NDArray[np.float64]]] = {
    "noise": lambda rng: rng.normal(size=SHAPE),
    "a galaxy": lambda rng: (
        200 * np.exp(-np.hypot(*(np.mgrid[:SIZE, :SIZE] - 50)) / rng.uniform(1, 20)) + rng.normal(size=SHAPE)
    ),
    "a pedestal": lambda rng: 10 ** rng.uniform(0, 6) + rng.normal(size=SHAPE),
    "heavy tails on both sides": lambda rng: rng.standard_cauchy(SHAPE),
    "a heavy tail": lambda rng: rng.lognormal(0, rng.uniform(0.1, 4), SHAPE),
    "masked pixels": lambda rng: np.where(rng.random(SHAPE) < rng.uniform(0, 0.3), 1e14, rng.normal(size=SHAPE)),
    "a hot pixel": lambda rng: np.where(np.arange(SIZE**2) == rng.integers(SIZE**2), 1e6, 0).reshape(SHAPE),
    "a constant": lambda rng: np.full(SHAPE, rng.normal()),
    "nothing": lambda _: np.zeros(SHAPE),
    "a few levels": lambda rng: rng.integers(0, rng.integers(2, 9), SHAPE) * 1.0,
    "a gradient": lambda rng: np.linspace(0, rng.normal(), SIZE**2).reshape(SHAPE),
    "half of it constant": lambda rng: np.where(rng.random(SHAPE) < 0.5, 3.0, rng.normal(size=SHAPE)),
}


def by_astropy(image: Image) -> Image:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its fit complains of constant images
        return ZScaleInterval()(image)


def agrees_with_astropy(folder: Path) -> None:
    images = np.stack([fits.getdata(path) for path in sorted(folder.rglob("*.fits"))])
    expected = np.stack([by_astropy(image) for image in images])
    np.testing.assert_allclose(zscale(images[:, None])[:, 0], expected, rtol=0, atol=1e-6)
    # And so it is after masked pixels are cleared.
    cleared = np.where(images == MASKED, np.float32(0), images)
    expected = np.stack([by_astropy(image) for image in cleared])
    np.testing.assert_allclose(prepare(images[:, None], "zscale")[0][:, 0], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["space", "ground"])
def test_zscale_is_astropys_on_real_cutouts(challenge1: Path, name: str) -> None:
    agrees_with_astropy(challenge1 / name)


@pytest.mark.parametrize("simulated", ["small_space", "small_ground"])
@pytest.mark.slow
def test_zscale_is_astropys_on_simulated_cutouts(simulated: str, request: pytest.FixtureRequest) -> None:
    agrees_with_astropy(request.getfixturevalue(simulated))


@pytest.mark.parametrize("kind", KINDS)
@given(seed=st.integers(0, 2**32), magnitude=st.floats(-14, 4))
@settings(max_examples=20, deadline=None)
def test_zscale_is_astropys_on_every_kind_of_image(kind: str, seed: int, magnitude: float) -> None:
    image = (10**magnitude * KINDS[kind](np.random.default_rng(seed))).astype(np.float32)
    np.testing.assert_allclose(zscale(image[None, None])[0, 0], by_astropy(image), rtol=0, atol=1e-6)


@given(sides=st.tuples(st.integers(2, 40), st.integers(2, 40)), seed=st.integers(0, 2**32))
@settings(max_examples=50, deadline=None)
def test_zscale_is_astropys_on_small_images(sides: tuple[int, int], seed: int) -> None:
    image = np.random.default_rng(seed).normal(size=sides).astype(np.float32)
    np.testing.assert_allclose(zscale(image[None, None])[0, 0], by_astropy(image), rtol=0, atol=1e-6)


def test_zscale_limits_are_astropys(sky: Callable[[int], Image]) -> None:
    images = np.stack([sky(number) for number in range(50)])
    low, high = zscale_limits(images.reshape(50, -1))
    expected = np.array([ZScaleInterval().get_limits(image) for image in images])
    np.testing.assert_allclose(np.stack([low, high], axis=1), expected, rtol=1e-9, atol=0)


@pytest.mark.parametrize("name", NORMALISATIONS)
def test_the_company_of_an_image_does_not_matter(name: str) -> None:
    rng = np.random.default_rng(5)
    images = np.stack([1e-12 * draw(rng) for draw in KINDS.values()]).astype(np.float32).reshape(6, 2, *SHAPE)
    together = NORMALISATIONS[name](images)
    alone = np.concatenate([NORMALISATIONS[name](image[None]) for image in images])
    backwards = NORMALISATIONS[name](images[::-1, ::-1])[::-1, ::-1]
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_array_equal(together, backwards)


def test_asinh_is_the_flux_above_the_median_in_units_of_the_noise(sky: Callable[[int], Image]) -> None:
    image = sky(1)
    expected = np.arcsinh((image.astype(float) - np.median(image)) / mad_std(image.astype(float)))
    np.testing.assert_allclose(asinh(image[None, None])[0, 0], expected, rtol=1e-5, atol=1e-6)


def test_asinh_of_a_constant_is_nothing() -> None:
    assert not asinh(np.full((1, 1, *SHAPE), 3e-12, np.float32)).any()


def test_none_leaves_the_flux(sky: Callable[[int], Image]) -> None:
    np.testing.assert_array_equal(none(sky(2)[None, None])[0, 0], sky(2))


@pytest.mark.parametrize("name", ["zscale", "asinh"])
def test_the_unit_of_the_flux_does_not_matter(name: str, sky: Callable[[int], Image]) -> None:
    faint = sky(3)[None, None]
    normalised = NORMALISATIONS[name](faint)
    assert normalised.std() > 0.01
    np.testing.assert_allclose(normalised, NORMALISATIONS[name](faint * np.float32(1e12)), atol=1e-5)


@pytest.mark.parametrize("name", NORMALISATIONS)
def test_pixels_without_a_measurement_are_counted_and_count_as_no_flux(name: str) -> None:
    rng = np.random.default_rng(6)
    raw = rng.normal(0, 1e-12, (3, 4, *SHAPE)).astype(np.float32)
    without = rng.random(raw.shape) < np.array([0, 0.001, 0.01, 0.2])[:, None, None]
    values = np.array([MASKED, np.nan, np.inf, -np.inf, 1e38], np.float32)
    damaged = np.where(without, values[rng.integers(0, len(values), raw.shape)], raw)
    kept = damaged.copy()
    pixels, masked = prepare(damaged, name)
    np.testing.assert_array_equal(masked, without.sum(axis=(2, 3)))
    np.testing.assert_array_equal(unmeasured(damaged), without)
    np.testing.assert_array_equal(pixels, NORMALISATIONS[name](np.where(without, np.float32(0), raw)))
    np.testing.assert_array_equal(damaged, kept)


@pytest.mark.parametrize("name", NORMALISATIONS)
@given(bits=arrays(np.uint32, (1, 2, 8, 8)))
@settings(max_examples=100, deadline=None)
def test_no_bits_of_a_damaged_file_give_anything_but_finite_pixels(name: str, bits: NDArray[np.uint32]) -> None:
    pixels, _ = prepare(bits.view(np.float32), name)
    assert pixels.dtype == np.float32
    assert pixels.shape == bits.shape
    assert np.isfinite(pixels).all()
    if name == "zscale":
        assert pixels.min() >= 0
        assert pixels.max() <= 1
