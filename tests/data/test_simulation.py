"""Simulated sets: what is made depends on the settings alone, and lies on disk as the challenge's does."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from scipy.signal import fftconvolve

from orchestrator.data.catalogue import read_labels
from orchestrator.data.challenge import GROUND, SPACE, ImagingSet, cutout_path, scan
from orchestrator.data.simulation import simulate
from orchestrator.data.simulation.population import Sersic, draw
from orchestrator.data.simulation.render import render
from orchestrator.errors import DataError
from tests.conftest import ROOT


def make(root: Path, imaging: ImagingSet = SPACE, count: int = 12, seed: int = 5, **options: object) -> list[int]:
    return list(simulate(root, imaging, count, seed, **{"workers": 1, **options}))  # type: ignore[arg-type]


def contents(root: Path) -> dict[str, bytes]:
    """Every file of a set but its settings, which hold the count."""
    files = (path for path in root.rglob("*") if path.is_file() and path.name != "simulation.json")
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


@pytest.mark.parametrize("imaging", [SPACE, GROUND], ids=["space", "ground"])
@pytest.mark.slow
def test_processes_and_portions_do_not_change_a_byte(imaging: ImagingSet, tmp_path: Path) -> None:
    assert make(tmp_path / "one", imaging, 60) == [0, 50, 60]
    make(tmp_path / "two", imaging, 60, workers=2)
    make(tmp_path / "extended", imaging, 7)
    assert make(tmp_path / "extended", imaging, 60)[0] == 7
    whole = contents(tmp_path / "one")
    assert len(whole) == 60 * len(imaging.bands) + 2
    assert contents(tmp_path / "two") == whole
    assert contents(tmp_path / "extended") == whole


def test_a_set_that_is_there_is_not_made_again(tmp_path: Path) -> None:
    make(tmp_path / "set")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "set").rglob("*.fits")}
    assert make(tmp_path / "set") == [12]
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.slow
def test_a_process_that_is_killed_leaves_a_set_that_goes_on_to_the_same(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from orchestrator.data.challenge import SPACE;"
        "from orchestrator.data.simulation import simulate\n"
        f"for done in simulate(Path({str(tmp_path / 'killed')!r}), SPACE, 110, 5, workers=1): print(done, flush=True)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    while int(process.stdout.readline()) < 50:
        pass
    time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / "killed" / "classifications.csv").exists()  # no key before its objects
    steps = make(tmp_path / "killed", count=110)
    assert 50 <= steps[0] < 110
    make(tmp_path / "undisturbed", count=110)
    assert contents(tmp_path / "killed") == contents(tmp_path / "undisturbed")


@pytest.mark.slow
def test_two_processes_that_make_one_set_at_once_make_what_one_does(tmp_path: Path) -> None:
    make(tmp_path / "alone", count=60)
    program = (
        f"import tests.data.test_simulation as t, pathlib; t.make(pathlib.Path({str(tmp_path / 'both')!r}), count=60)"
    )
    both = [subprocess.Popen([sys.executable, "-c", program], cwd=ROOT) for _ in range(2)]
    assert [each.wait() for each in both] == [0, 0]
    assert contents(tmp_path / "both") == contents(tmp_path / "alone")


@pytest.mark.parametrize("imaging", [SPACE, GROUND], ids=["space", "ground"])
def test_astropy_reads_every_file_as_one_of_the_challenges(imaging: ImagingSet, tmp_path: Path) -> None:
    make(tmp_path / "set", imaging, 4)
    for band in imaging.bands:
        path = cutout_path(tmp_path / "set", imaging, 0, band, 100_002)
        assert path.stat().st_size == 46_080
        with fits.open(path) as units:
            units.verify("exception")
            (unit,) = units
            assert (unit.header["BITPIX"], unit.data.shape, unit.data.dtype) == (-32, (101, 101), np.dtype(">f4"))
            assert unit.header["CRPIX1"] == 51
            assert unit.header["CDELT2"] * 3600 == pytest.approx(imaging.pixel_scale, rel=1e-9)
            assert 0 < np.std(unit.data[unit.data < 100]) < 1e-9


def test_a_real_file_and_a_simulated_one_have_the_same_kinds_of_cards(challenge1: Path, tmp_path: Path) -> None:
    make(tmp_path / "set", count=1)
    ours = fits.getheader(next((tmp_path / "set").rglob("*.fits")))
    real = fits.getheader(next((challenge1 / "space").rglob("*.fits")))
    assert set(ours) <= set(real)
    for card in ("BITPIX", "NAXIS1", "CRPIX1", "CDELT1", "CDELT2"):
        assert ours[card] == pytest.approx(real[card], rel=1e-6)  # theirs are rounded


@pytest.mark.slow
def test_both_forms_of_labels_say_the_same(tmp_path: Path) -> None:
    make(tmp_path / "key", count=40)
    make(tmp_path / "catalogue", count=40, labels="catalogue")
    assert (tmp_path / "catalogue" / SPACE.catalogue).read_text().startswith("#")
    key, catalogue = (read_labels(tmp_path / form, SPACE) for form in ("key", "catalogue"))
    assert key.labels == catalogue.labels
    assert set(key.labels.values()) == {0, 1}
    assert {"theta_E", "arc_snr", "beta", "mag_lens", "psf_fwhm_VIS", "Einstein_area"} <= key.columns.keys()
    assert [each.id for each in scan(tmp_path / "key").objects] == sorted(key.labels)


@pytest.mark.slow
def test_a_lens_is_its_foreground_with_arcs_that_the_truth_describes(tmp_path: Path) -> None:
    make(tmp_path / "set", count=60)
    make(tmp_path / "bright", count=60, difficulty=-3.0)
    truth, bright = (read_labels(tmp_path / name, SPACE) for name in ("set", "bright"))
    lenses = [each for each, label in truth.labels.items() if label]
    assert truth.labels == bright.labels
    brighter = [bright.columns["arc_flux"][each] > truth.columns["arc_flux"][each] for each in lenses]
    assert np.mean(brighter) > 0.9
    shifted = [truth.columns["mag_source"][each] - bright.columns["mag_source"][each] for each in lenses]
    assert shifted == pytest.approx([3.0] * len(lenses), abs=1e-3)
    assert truth.columns["mag_lens"] == bright.columns["mag_lens"]
    for identifier in lenses[:5]:
        images = [
            fits.getdata(cutout_path(tmp_path / name, SPACE, 0, SPACE.bands[0], identifier))
            for name in ("set", "bright")
        ]
        added = float((images[1] - images[0]).sum())
        expected = 10 ** (-0.4 * bright.columns["mag_arcs"][identifier]) - 10 ** (
            -0.4 * truth.columns["mag_arcs"].get(identifier, np.inf)
        )
        assert added == pytest.approx(expected, rel=0.15, abs=3e-10)


def blurred_disk(radius: float, fwhm: float, scale: float, *, moffat: bool) -> np.ndarray:
    """An exponential disk behind a PSF, by brute force on 11 × 11 points a pixel; its peak is 1."""
    at = (np.arange(41 * 11) - 225) * scale / 11
    distance = np.hypot(at[:, None], at[None])
    psf = (1 + 4 * (2 ** (1 / 3.5) - 1) * (distance / fwhm) ** 2) ** -3.5
    if not moffat:
        psf = np.exp(-4 * np.log(2) * (distance / fwhm) ** 2)
    image = fftconvolve(np.exp(-1.678 * distance / radius), psf, mode="same")
    pixels = image.reshape(41, 11, 41, 11).sum(axis=(1, 3))
    return pixels / pixels.max()


@pytest.mark.parametrize("imaging", [SPACE, GROUND], ids=["space", "ground"])
def test_a_galaxy_looks_as_brute_force_has_it(imaging: ImagingSet) -> None:
    scene = next(each for each in (draw(imaging, 1, index, 0.0) for index in range(99)) if not each.is_lens)
    radius, widths = 2 * imaging.pixel_scale, (0.18,) if imaging == SPACE else (0.67, 0.75, 0.80, 1.0)
    galaxy = Sersic(0.0, 0.0, 0.9999, 0.0, 1.0, radius, (12.0,) * len(widths))  # so bright that noise is nothing
    alone = dataclasses.replace(scene, foreground=(galaxy,), centre=(0.0, 0.0), fwhm=widths, mask=None)
    for pixels, fwhm in zip(render(imaging, alone).pixels, widths, strict=True):
        seen = pixels[30:71, 30:71] / pixels.max()
        expected = blurred_disk(radius, fwhm, imaging.pixel_scale, moffat=imaging == GROUND)
        np.testing.assert_allclose(seen, expected, atol=0.01)
        assert pixels.sum() == pytest.approx(10 ** (-0.4 * 12.0), rel=0.02)


def test_another_seed_gives_other_objects_and_another_set_too(tmp_path: Path) -> None:
    make(tmp_path / "a", seed=1, count=3)
    make(tmp_path / "b", seed=2, count=3)
    ours, others = ([path.read_bytes() for path in sorted((tmp_path / name).rglob("*.fits"))] for name in "ab")
    assert all(mine != other for mine, other in zip(ours, others, strict=True))


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"seed": 6}, "seed = 5, not 6"),
        ({"imaging": GROUND}, "set = 'space', not 'ground'"),
        ({"difficulty": 0.5}, r"difficulty = 0\.0, not 0\.5"),
        ({"labels": "catalogue"}, "labels = 'key', not 'catalogue'"),
        ({"count": 3}, "a set of 12 objects, not 3"),
        ({"count": 0}, "count 0"),
        ({"seed": -1}, "seed -1"),
        ({"labels": "csv"}, "allowed: key, catalogue"),
    ],
)
def test_what_does_not_fit_what_is_there_is_refused_and_nothing_is_lost(
    changed: dict[str, object], told: str, tmp_path: Path
) -> None:
    make(tmp_path / "set")
    before = contents(tmp_path / "set")
    with pytest.raises(DataError, match=told):
        make(tmp_path / "set", **changed)  # type: ignore[arg-type]
    assert contents(tmp_path / "set") == before
    assert json.loads((tmp_path / "set" / "simulation.json").read_text())["count"] == 12


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(DataError, match="not empty, and no simulation"):
        make(tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == ["thesis.tex"]
