"""What thousands of simulated objects look like, held against the challenge's own key and cutouts, and against leaks.

A leak is whatever tells a lens from another object without its arcs: a network would learn it and fail on the sky.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from orchestrator.data.catalogue import read_labels
from orchestrator.data.challenge import MASKED, SETS, SIZE, ImagingSet, scan
from orchestrator.data.fits import read_cutout
from orchestrator.data.simulation import simulate

pytestmark = pytest.mark.slow

COUNT, SEED = {"space": 2000, "ground": 5000}, 1

QUANTILES = (5, 25, 50, 75, 95)
KEY = {
    "space": {
        "theta_E": (0.169, 0.30, 0.84, 2.45, 4.52),
        "arc_pixels": (28, 101, 232, 599, 1683),
        "arc_flux": (59, 298, 822, 2308, 10467),
    },
    "ground": {
        "theta_E": (0.362, 0.65, 1.28, 3.10, 5.31),
        "arc_pixels": (0, 43, 116, 242, 703),
        "arc_flux": (0, 70, 248, 677, 3814),
    },
}
"""Quantiles over the lenses of the challenge's training keys."""

LENSES = {"space": 0.6984, "ground": 0.4011}
INVISIBLE = {"space": 357 / 13968, "ground": 530 / 8022}
SKY = {"space": (7.8e-13,), "ground": (1.53e-12, 3.2e-12, 1.25e-12, 2.0e-12)}
FWHM = {"space": (0.18,), "ground": (0.67, 0.75, 0.80, 1.0)}

Floats = NDArray[np.float64]


class Simulated(NamedTuple):
    """A set as it is read back from its files."""

    imaging: ImagingSet
    pixels: NDArray[np.float32]
    labels: NDArray[np.int64]
    truth: dict[str, Floats]


@pytest.fixture(scope="module", params=["space", "ground"])
def simulated(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Simulated:
    imaging = SETS[request.param]
    root: Path = tmp_path_factory.mktemp("statistics") / imaging.name
    for _ in simulate(root, imaging, COUNT[imaging.name], SEED, workers=2):
        pass
    release, catalogue = scan(root), read_labels(root, imaging)
    ids = np.array([each.id for each in release.objects])
    pixels = np.stack([read_cutout(each.paths) for each in release.objects])
    truth = {name: catalogue.column(name, ids) for name in catalogue.columns}
    return Simulated(imaging, pixels, np.array([catalogue.labels[int(each)] for each in ids]), truth)


def separation(values: Floats, labels: NDArray[np.int64]) -> float:
    """AUC of one number, whichever direction it separates in; what is not known counts as the median."""
    ranks = rankdata(np.where(np.isnan(values), np.nanmedian(values), values))
    lenses = labels == 1
    wins = ranks[lenses].sum() - lenses.sum() * (lenses.sum() + 1) / 2
    auc = wins / (lenses.sum() * (~lenses).sum())
    return float(max(auc, 1 - auc))


def separation_together(features: Floats, labels: NDArray[np.int64]) -> float:
    """AUC of a logistic regression on objects it was not fitted to."""
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    return separation(cross_val_predict(model, features, labels, cv=5, method="decision_function"), labels)


def without_masks(pixels: NDArray[np.float32]) -> Floats:
    return np.where(pixels == MASKED, np.nan, pixels).astype(np.float64)


def noise_of(pixels: NDArray[np.float32]) -> tuple[Floats, Floats]:
    """Standard deviation and correlation with the next pixel of the noise, (n, bands) each.

    Both come of differences between near pixels in the corners, where there is little else and what there is is smooth.
    """
    corners = without_masks(pixels)
    blocks = np.stack(
        [
            corners[..., rows, columns]
            for rows in (slice(14), slice(-14, None))
            for columns in (slice(14), slice(-14, None))
        ]
    )

    def scatter(step: int) -> Floats:
        differences = blocks[..., step:] - blocks[..., :-step]
        return 1.4826 * np.nanmedian(np.abs(differences), axis=(-2, -1)) / np.sqrt(2)

    near, far = np.median(scatter(1), axis=0), np.median(scatter(6), axis=0)
    return far, 1 - (near / far) ** 2


def centroids_of(image: Floats) -> Floats:
    """Where the galaxy in the middle peaks, to a fraction of a pixel: (n, 2)."""
    middle = slice(SIZE // 2 - 3, SIZE // 2 + 4)
    core = image[:, middle, middle]
    peak_y, peak_x = np.divmod(core.reshape(len(core), -1).argmax(axis=1), 7)
    found = []
    for each, y, x in zip(core, np.clip(peak_y, 1, 5), np.clip(peak_x, 1, 5), strict=True):
        around = np.clip(each[y - 1 : y + 2, x - 1 : x + 2], 0, None)
        at = np.arange(-1, 2)
        total = max(around.sum(), 1e-30)
        found.append((x + (around.sum(axis=0) * at).sum() / total, y + (around.sum(axis=1) * at).sum() / total))
    return np.array(found)


def test_as_many_are_lenses_as_in_the_key(simulated: Simulated) -> None:
    share = LENSES[simulated.imaging.name]
    assert simulated.labels.mean() == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / len(simulated.labels)))


@pytest.mark.parametrize("column", ["theta_E", "arc_pixels", "arc_flux"])
def test_quantiles_of_the_lenses_are_those_of_the_key(simulated: Simulated, column: str) -> None:
    lenses = simulated.truth[column][simulated.labels == 1]
    share, key = np.array(QUANTILES) / 100, np.array(KEY[simulated.imaging.name][column])
    noise = 2 * np.sqrt(share * (1 - share) / len(lenses))  # of the share of lenses below a quantile of so many
    low, high = np.quantile(lenses, share - noise), np.quantile(lenses, share + noise)
    assert (low <= 1.25 * key).all()
    assert (high >= 0.75 * key).all()
    assert np.median(lenses) == pytest.approx(key[2], rel=0.25)


def test_as_many_lenses_are_invisible_as_in_the_key(simulated: Simulated) -> None:
    invisible = (simulated.truth["arc_pixels"][simulated.labels == 1] == 0).mean()
    assert invisible == pytest.approx(INVISIBLE[simulated.imaging.name], rel=0.25)


def test_flux_and_pixels_of_arcs_go_together_as_in_the_key(simulated: Simulated) -> None:
    seen = (simulated.labels == 1) & (simulated.truth["arc_pixels"] > 0)
    found = np.corrcoef(np.log(simulated.truth["arc_pixels"][seen]), np.log(simulated.truth["arc_flux"][seen]))[0, 1]
    assert found == pytest.approx({"space": 0.90, "ground": 0.96}[simulated.imaging.name], abs=0.03)


def test_the_keys_own_columns_say_what_the_truth_says(simulated: Simulated) -> None:
    truth = simulated.truth
    np.testing.assert_array_equal(truth["numb_pix_lensed_image"], truth["arc_pixels"])
    np.testing.assert_array_equal(truth["flux_lensed_image_in_sigma"], truth["arc_flux"])
    radius = np.sqrt(truth["Einstein_area"] / np.pi) * 180 / np.pi * 3600
    np.testing.assert_allclose(radius, truth["theta_E"], rtol=1e-4)


def test_the_sky_is_as_noisy_as_the_challenges_and_white_but_for_resampled_stamps(simulated: Simulated) -> None:
    deviation, correlation = noise_of(simulated.pixels)
    scale = np.stack([simulated.truth[f"noise_scale_{band.name}"] for band in simulated.imaging.bands], axis=1)
    plain = (scale < 1.5).all(axis=1)
    for band, sky in enumerate(SKY[simulated.imaging.name]):
        assert np.median(deviation[plain, band]) == pytest.approx(sky, rel=0.05)
        assert np.median(correlation[plain, band]) == pytest.approx(0, abs=0.03)
    if simulated.imaging.name == "space":
        assert plain.all()
        return
    assert (~plain).mean() == pytest.approx(0.15, abs=0.02)
    assert np.percentile(scale[~plain], [1, 99]) == pytest.approx([2.3, 3.6], abs=0.1)
    assert 0.12 < np.median(correlation[~plain]) < 0.27


def test_the_psf_is_as_wide_as_the_challenges(simulated: Simulated) -> None:
    widths = [np.median(simulated.truth[f"psf_fwhm_{band.name}"]) for band in simulated.imaging.bands]
    assert widths == pytest.approx(FWHM[simulated.imaging.name], rel=0.03)


def test_what_knows_nothing_of_arcs_does_not_tell_the_classes_apart(simulated: Simulated) -> None:
    images = without_masks(simulated.pixels)
    deviation, correlation = noise_of(simulated.pixels)
    centroids = centroids_of(np.nan_to_num(images[:, 0]))
    bands = [band.name for band in simulated.imaging.bands]
    edge = np.ones((SIZE, SIZE), bool)
    edge[2:-2, 2:-2] = False
    features = {
        **{f"noise {name}": deviation[:, n] for n, name in enumerate(bands)},
        **{f"whiteness {name}": correlation[:, n] for n, name in enumerate(bands)},
        **{f"border {name}": np.nanmedian(images[:, n][:, edge], axis=1) for n, name in enumerate(bands)},
        **{f"PSF {name}": simulated.truth[f"psf_fwhm_{name}"] for name in bands},
        "masks": simulated.truth["masked"],
        "foreground magnitude": simulated.truth["mag_lens"],
        "centroid x": centroids[:, 0],
        "centroid y": centroids[:, 1],
        "Einstein radius": simulated.truth["theta_E"],
        "axis ratio": simulated.truth["q"],
    }
    found = {name: separation(values, simulated.labels) for name, values in features.items()}
    assert {name: auc for name, auc in found.items() if auc > 0.55} == {}
    together = np.stack([np.where(np.isnan(each), np.nanmedian(each), each) for each in features.values()], axis=1)
    assert separation_together(together, simulated.labels) <= 0.55


def test_light_in_rings_tells_the_classes_apart_no_better_than_in_the_challenge(simulated: Simulated) -> None:
    images = np.nan_to_num(without_masks(simulated.pixels))
    distance = np.hypot(*(np.mgrid[:SIZE, :SIZE] - SIZE // 2))
    edges = (0, 2, 4, 7, 10, 14, 19, 25, 32, 40, 50)
    sky = np.array(SKY[simulated.imaging.name])[:, None]
    rings = [
        np.arcsinh(images[..., (distance >= inner) & (distance < outer)].mean(axis=-1).T / sky)
        for inner, outer in itertools.pairwise(edges)
    ]
    auc = separation_together(np.concatenate(rings).T, simulated.labels)
    assert 0.55 < auc <= {"space": 0.72, "ground": 0.80}[simulated.imaging.name]
