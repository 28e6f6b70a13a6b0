"""What is odd about cutouts is told in the same way by all that reads them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from numpy.typing import NDArray

from orchestrator.data import sources
from orchestrator.data.cache import build, load
from orchestrator.data.catalogue import read_labels
from orchestrator.data.challenge import GROUND, SIZE, SPACE, cutout_path, scan
from orchestrator.data.check import check, report
from orchestrator.data.quality import judge
from tests.conftest import ROOT

Pixels = NDArray[np.float32]
MakeSet = Callable[..., Path]
BANDS = [band.name for band in GROUND.bands]


def sky(bands: int = 1) -> Pixels:
    return np.random.default_rng(0).normal(0, 1e-12, (bands, SIZE, SIZE)).astype(np.float32)


def corner(image: Pixels, value: float) -> None:
    """What lies beyond a line from edge to edge, as where a survey ends."""
    y, x = np.mgrid[:SIZE, :SIZE]
    image[x + 2 * y < 60] = value


ODD: dict[str, tuple[Callable[[Pixels], object], list[str], str]] = {
    "nothing": (lambda image: None, [], ""),
    "all 0": (lambda image: image.fill(0), ["constant"], "one value in all of VIS"),
    "all one value": (lambda image: image.fill(-99), ["constant"], "one value in all of VIS"),
    "an edge of -99": (lambda image: image[:, :4].fill(-99), ["edge"], ""),
    "an edge of 0": (lambda image: image[90:].fill(0), ["edge"], ""),
    "a corner of 0": (lambda image: corner(image, 0), ["edge"], ""),
    "a corner of NaN": (lambda image: corner(image, np.nan), [], ""),
    "a few pixels at an edge": (lambda image: image[:1, :15].fill(0), [], ""),
    "a saturated star": (lambda image: image[40:60, 40:60].fill(3e-9), [], ""),
    "masks along an edge": (lambda image: image[:3].fill(100), [], ""),
    "mostly NaN": (lambda image: image[:60].fill(np.nan), ["sparse"], ""),
    "nothing measured": (lambda image: image.fill(100), [], "not one pixel with a measurement in VIS"),
    "one value and masks": (
        lambda image: np.copyto(image, np.where(image < 2e-12, 1, 100)), ["constant"], "one value in all of VIS"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("change", "flags", "bad"), ODD.values(), ids=ODD)
def test_oddities_are_flagged_and_what_says_nothing_is_bad(
    change: Callable[[Pixels], object], flags: list[str], bad: str
) -> None:
    flux = sky()
    change(flux[0])
    [quality] = judge(flux[None], ["VIS"])
    assert list(quality.flags) == flags
    assert bool(quality.bad) == bool(bad)
    assert quality.bad.startswith(bad)
    [alone], both = judge(flux[None], ["VIS"]), judge(np.stack([sky(), flux]), ["VIS"])
    assert both[1] == alone


def test_a_band_may_be_constant_or_a_copy_while_the_others_tell_something() -> None:
    flux = sky(4)
    flux[1], flux[3] = 0, flux[0]
    [quality] = judge(flux[None], BANDS)
    assert (quality.flags, quality.bad) == (("constant", "copied"), "")
    assert quality.notes == ("band I is constant", "band U holds the same pixels as R")
    flux[:] = np.arange(4)[:, None, None]
    assert judge(flux[None], BANDS)[0].bad == "one value in all of R, I, G, U"


def test_noise_in_whole_numbers_has_no_edge() -> None:
    counts = np.random.default_rng(0).poisson(1.0, (500, 1, SIZE, SIZE)).astype(np.float32)
    assert all(each.flags == () for each in judge(counts, ["VIS"]))


def test_no_real_cutout_but_the_corrupt_one_has_an_oddity(challenge1: Path) -> None:
    for kind in ("space", "ground"):
        release = scan(challenge1 / kind)
        piece = sources.find(challenge1 / kind, release.set).read(0, len(release.objects))
        assert {row.id for row in piece.rows if set(row.flags) - {"masked"}} == (
            {"100013"} if kind == "ground" else set()
        )


def test_the_case_of_a_survey_that_ends_is_bad_and_its_edge_is_flagged() -> None:
    folder = ROOT.parent / "shared" / "cases" / "F_outside_footprint"
    if not folder.is_dir():
        pytest.skip("the cases are not there")
    rows = {row.id: row for row in sources.find(folder, SPACE).read(0, 3).rows}
    assert (rows["good"].flags, rows["good"].reason) == ([], "")
    assert rows["outside_footprint"].flags == ["constant", "bad"]
    assert "masked" in rows["edge_nan"].flags


def test_scoring_checking_and_packing_agree_on_what_is_bad(make_set: MakeSet, tmp_path: Path) -> None:
    root = make_set(SPACE, 5)
    for identifier, value in ((100001, 0.0), (100003, -99.0)):
        path = cutout_path(root, SPACE, 0, SPACE.bands[0], identifier)
        fits.PrimaryHDU(np.full((SIZE, SIZE), value, np.float32)).writeto(path, overwrite=True)
    release = scan(root)
    piece = sources.find(root, SPACE).read(0, 5)
    list(build(root, "zscale", tmp_path / "packed", max_bad=0.5))
    packed = load(root, "zscale", tmp_path / "packed")
    assert packed is not None
    scored = [(int(row.id), row.reason) for row in piece.rows if row.reason]
    checked = report(release, read_labels(root, SPACE), check(release, 1)).unreadable
    assert scored == [(each.id, each.reason) for each in packed.bad] == list(checked)
    assert [identifier for identifier, _ in scored] == [100001, 100003]


def test_a_padded_cutout_is_judged_by_what_it_had(tmp_path: Path) -> None:
    small = sky()[0, :50, :50]
    fits.PrimaryHDU(small).writeto(tmp_path / "a.fits")
    small[:30] = np.nan
    fits.PrimaryHDU(small).writeto(tmp_path / "b.fits")
    rows = sources.find(tmp_path, SPACE, resize=True).read(0, 2).rows
    assert [row.flags for row in rows] == [["padded"], ["padded", "masked", "sparse"]]
    assert [row.masked for row in rows] == [0, 1500]
