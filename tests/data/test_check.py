from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from click.testing import CliRunner
from numpy.typing import NDArray

from orchestrator.cli import main
from orchestrator.data.cache import build, load
from orchestrator.data.catalogue import read_labels
from orchestrator.data.challenge import GROUND, SPACE, cutout_path, scan
from orchestrator.data.check import Report, check, report
from orchestrator.reports.check import page

MakeSet = Callable[..., Path]


def checked(root: Path, workers: int = 1) -> Report:
    release = scan(root)
    return report(release, read_labels(root, release.set), check(release, workers))


def rewrite(root: Path, identifier: int, band: int, change: Callable[[NDArray[np.float32]], object]) -> None:
    path = cutout_path(root, GROUND, 0, GROUND.bands[band], identifier)
    pixels = fits.getdata(path).astype(np.float32)
    change(pixels)
    fits.PrimaryHDU(pixels).writeto(path, overwrite=True)


def test_a_sound_set_is_clean(make_set: MakeSet) -> None:
    found = checked(make_set(GROUND, 6))
    assert found.clean
    assert (found.objects, found.lenses, found.others) == (6, 3, 3)
    assert (found.masked_objects, found.masked_pixels) == (0, {"R": 0, "I": 0, "G": 0, "U": 0})


def test_the_corrupt_real_object_is_named(challenge1: Path) -> None:
    found = checked(challenge1 / "ground")
    assert found.suspect == (
        (100013, "band G holds the same pixels as I"),
        (100013, "band U holds the same pixels as R"),
    )
    assert not found.clean
    assert found.unreadable == ()
    assert (found.masked_objects, found.masked_pixels) == (2, {"R": 15, "I": 0, "G": 0, "U": 49})
    assert (found.objects, found.lenses, found.others) == (6, 3, 3)
    assert 100000 in found.missing


def test_the_real_space_objects_are_sound(challenge1: Path) -> None:
    found = checked(challenge1 / "space")
    assert (found.objects, found.suspect, found.unreadable, found.masked_objects) == (8, (), (), 0)


def test_odd_bands_and_copied_objects_are_named(make_set: MakeSet) -> None:
    root = make_set(GROUND, 5)

    def masked_constant(pixels: NDArray[np.float32]) -> None:
        pixels[:] = 2e-12
        pixels[:5] = 100

    rewrite(root, 100001, 2, masked_constant)
    for band in (1, 3):
        rewrite(root, 100002, band, lambda pixels: pixels.fill(np.float32(0)))
    for band in GROUND.bands:
        copy = cutout_path(root, GROUND, 0, band, 100003)
        copy.write_bytes(cutout_path(root, GROUND, 0, band, 100000).read_bytes())
    found = checked(root)
    assert found.suspect == (
        (100001, "band G is constant"),
        (100002, "band I is constant"),
        (100002, "band U holds the same pixels as I"),
        (100002, "band U is constant"),
        (100003, "holds the same pixels as 100000"),
    )
    assert not found.clean


def test_bands_that_share_their_gaps_are_the_same_pixels(make_set: MakeSet) -> None:
    root = make_set(GROUND, 1)
    rewrite(root, 100000, 0, lambda pixels: pixels[:3].fill(np.nan))
    first, last = (cutout_path(root, GROUND, 0, GROUND.bands[n], 100000) for n in (0, 3))
    last.write_bytes(first.read_bytes())
    found = checked(root)
    assert found.suspect == ((100000, "band U holds the same pixels as R"),)


def test_masked_pixels_are_counted_by_band(make_set: MakeSet) -> None:
    root = make_set(GROUND, 4)
    rewrite(root, 100001, 0, lambda pixels: pixels[:2, :3].fill(100))
    rewrite(root, 100001, 3, lambda pixels: pixels[0, :4].fill(np.nan))
    rewrite(root, 100003, 3, lambda pixels: pixels[7, :5].fill(100))
    found = checked(root)
    assert (found.masked_objects, found.masked_pixels) == (2, {"R": 6, "I": 0, "G": 0, "U": 9})
    assert found.clean


def test_what_is_missing_or_unreadable_is_named(make_set: MakeSet) -> None:
    root = make_set(GROUND, 5)
    cutout_path(root, GROUND, 0, GROUND.bands[2], 100001).unlink()
    broken = cutout_path(root, GROUND, 0, GROUND.bands[1], 100002)
    broken.write_bytes(b"")
    key = root / "classifications.csv"
    key.write_text(key.read_text().replace("100003,1,", "100009,1,"))
    found = checked(root)
    assert found.incomplete == ((100001, "no file for G"),)
    assert found.unreadable == ((100002, f"{broken}: the file is empty"),)
    assert (found.unlabelled, found.missing) == ((100003,), (100009,))
    assert (found.objects, found.lenses, found.others) == (4, 0, 3)
    assert not found.clean


def test_a_set_without_one_readable_object_is_reported_too(make_set: MakeSet) -> None:
    root = make_set(SPACE, 2)
    for identifier in (100000, 100001):
        cutout_path(root, SPACE, 0, SPACE.bands[0], identifier).write_bytes(b"")
    found = checked(root)
    assert [identifier for identifier, _ in found.unreadable] == [100000, 100001]
    assert (found.masked_objects, found.masked_pixels) == (0, {"VIS": 0})


def test_objects_come_in_order_however_many_processes_look(make_set: MakeSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.data.check.SHARD", 2)
    release = scan(make_set(SPACE, 7))
    alone, shared = list(check(release, 1)), list(check(release, 2))
    assert [each.id for each in alone] == list(range(100000, 100007))
    assert shared == alone


def test_check_and_cache_know_an_object_by_the_same_digest(make_set: MakeSet, tmp_path: Path) -> None:
    root = make_set(GROUND, 3)
    list(build(root, "zscale", tmp_path / "packed"))
    cutouts = load(root, "zscale", tmp_path / "packed")
    assert cutouts is not None
    assert [each.content for each in check(scan(root), 1)] == cutouts.content.tolist()


def copied(root: Path, identifier: int, other: int, turn: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> None:
    """Make an object of another one's pixels."""
    for band in GROUND.bands:
        pixels = fits.getdata(cutout_path(root, GROUND, 0, band, other)).astype(np.float32)
        fits.PrimaryHDU(turn(pixels)).writeto(cutout_path(root, GROUND, 0, band, identifier), overwrite=True)


def test_copies_are_found_turned_too_and_their_labels_compared(make_set: MakeSet) -> None:
    root = make_set(GROUND, 6)  # labelled 0, 1, 0, 1, 0, 1
    copied(root, 100003, 100000, np.rot90)
    copied(root, 100004, 100002, np.fliplr)
    found = checked(root)
    assert found.duplicates == ((100000, 100003), (100002, 100004))
    turned = "the same pixels, turned or mirrored,"
    assert found.suspect == ((100003, f"holds {turned} as 100000"), (100004, f"holds {turned} as 100002"))
    assert found.contradictions == ((100003, f"labelled a lens as 100003, and none as 100000: {turned}"),)


def test_what_two_sets_share_is_found_by_pixels_not_by_identifier(make_set: MakeSet) -> None:
    train, test = make_set(GROUND, 4), make_set(GROUND, 4, first=100002, to="test")
    copied(test, 100005, 100004, np.transpose)
    for path in test.rglob("*-100004.fits"):
        path.unlink()
    copied(train, 100000, 100003, np.flipud)
    one, other = scan(train), scan(test)
    found = report(one, read_labels(train, GROUND), check(one, 1), (other, check(other, 1)))
    assert found.overlap is not None
    assert (found.overlap.folder, found.overlap.objects) == (str(test), 3)
    assert [(each.id, each.other, each.how) for each in found.overlap.shared] == [
        (100000, 100003, "the same pixels, turned or mirrored"),
        (100002, 100002, "the same pixels"),
        (100003, 100003, "the same pixels"),
    ]
    assert not found.clean


def test_exchanged_bands_are_told_by_their_noise(make_set: MakeSet) -> None:
    root = make_set(GROUND, 24)
    rng = np.random.default_rng(0)
    for identifier in range(100000, 100024):
        sizes = [1e-12, 2e-12, 4e-12, 8e-12] if identifier != 100007 else [1e-12, 8e-12, 4e-12, 2e-12]
        louder = 3 if identifier == 100009 else 1  # as the real ones among simulated ones are
        for band, size in zip(GROUND.bands, sizes, strict=True):
            pixels = rng.normal(0, louder * size, (101, 101)).astype(np.float32)
            fits.PrimaryHDU(pixels).writeto(cutout_path(root, GROUND, 0, band, identifier), overwrite=True)
    found = checked(root)
    assert found.suspect == ((100007, "bands I and U look exchanged, by their noise"),)
    np.testing.assert_allclose(
        [found.noise[band.name][1] for band in GROUND.bands], np.array([1, 2, 4, 8]) * 1e-12, rtol=0.03
    )


def test_all_of_it_is_strict_json_and_a_page_that_escapes_what_comes_from_data(make_set: MakeSet) -> None:
    root = make_set(GROUND, 3, to="<b>set</b>")
    cutout_path(root, GROUND, 0, GROUND.bands[0], 100001).write_bytes(b"<script>alert(1)</script>")
    found = checked(root).document(str(root), GROUND)
    told = json.loads(json.dumps(found, allow_nan=False))
    assert told == found
    assert list(told) == [
        "folder", "set", "objects", "lenses", "others", "bands", "masked_objects", "unreadable", "suspect",
        "incomplete", "unlabelled", "missing", "duplicates", "contradictions", "overlap", "clean",
    ]  # fmt: skip
    assert [each["id"] for each in told["unreadable"]] == [100001]
    text = page(told)
    assert "<b>set" not in text
    assert "&lt;b&gt;set" in text
    assert "There are findings to look at" in text
    nothing = report(scan(root), read_labels(root, GROUND), []).document("x", GROUND)
    assert nothing["bands"][0]["noise"] == {"p5": None, "median": None, "p95": None}
    page(nothing)


def test_the_command_prints_json_and_writes_a_page(make_set: MakeSet, tmp_path: Path) -> None:
    root, out = make_set(SPACE, 3), tmp_path / "page.html"
    call = CliRunner().invoke(main, ["data", "check", str(root), "--against", str(root), "--json", "--html", str(out)])
    assert call.exit_code == 0
    told = json.loads(call.stdout)
    assert [each["id"] for each in told["overlap"]["shared"]] == [100000, 100001, 100002]
    assert out.read_text().startswith("<!doctype html>")
    bad = CliRunner().invoke(main, ["data", "check", str(root), "--html", str(out / "page.html")])
    assert bad.exit_code == 2
    assert "page.html: " in bad.stderr
