"""`orchestrator data`: a set is made, checked and shown."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from tests.cli.calling import Call


def test_a_set_is_made_found_in_order_and_shown(call: Call, tmp_path: Path) -> None:
    options = ("data", "simulate", "--set", "space", "--count", "30", "--seed", "3", "--out", str(tmp_path / "set"))
    assert "30 space objects" in call(*options, "--workers", "1").stdout
    told = call("data", "check", str(tmp_path / "set")).stdout
    assert "30 space objects" in told
    assert "nothing to report" in told
    call("data", "show", str(tmp_path / "set"), "--out", str(tmp_path / "sheet.png"), "--count", "4", "--columns", "4")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "imageSDSS_R-1.fits").touch()
    told = call("data", "check", str(tmp_path / "set"), "--against", str(tmp_path / "other"), expect=2).stderr
    assert "other: a ground set (allowed: one of space, as" in told
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (413, 205)
    assert "space, not 'ground'" in call(*options, "--set", "ground", expect=2).stderr.replace("'space'", "space")


def test_what_is_wrong_with_a_set_is_named_and_the_rest_is_counted(call: Call, tmp_path: Path) -> None:
    root = tmp_path / "set"
    call("data", "simulate", "--set", "space", "--count", "40", "--out", str(root), "--workers", "1")
    images = sorted(root.rglob("*.fits"))
    images[3].write_bytes(b"")
    images[5].write_bytes(images[6].read_bytes())
    for path in images[10:36]:
        path.unlink()
    told = call("data", "check", str(root)).stdout
    assert "1 unreadable:\n    100003: " in told
    assert "100006: holds the same pixels as 100005" in told
    assert "26 with a label and no files:\n    100010, 100011, " in told
    assert "… and 6 more (--all names them)" in told
    assert "100035" in call("data", "check", str(root), "--all").stdout


def test_the_corrupt_object_of_the_challenge_is_named(call: Call, challenge1: Path) -> None:
    told = call("data", "check", str(challenge1 / "ground")).stdout
    assert "100013: band G holds the same pixels as I" in told
    assert "100013: band U holds the same pixels as R" in told
    assert "masked pixels: R 15, I 0, G 0, U 49" in told
    assert "6 ground objects: 3 lenses, 3 others" in told
