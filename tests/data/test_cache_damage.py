from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from orchestrator.data.cache import build, load
from orchestrator.data.challenge import GROUND, SPACE, cutout_path
from orchestrator.errors import DataError, TooManyBadCutouts

MakeSet = Callable[..., Path]

BUILD = """
import sys, time
from multiprocessing import active_children
from pathlib import Path
from orchestrator.data import cache, packing
packing.SHARD = 2
if __name__ == "__main__":
    for done, total in cache.build(Path(sys.argv[1]), "zscale", Path(sys.argv[2]), workers=2):
        print(done, *[child.pid for child in active_children()], flush=True)
        time.sleep(float(sys.argv[3]))
"""


@pytest.fixture
def where(tmp_path: Path) -> Path:
    return tmp_path / "packed"


@pytest.fixture
def start_build(tmp_path: Path, where: Path) -> Iterator[Callable[[Path, float], subprocess.Popen[str]]]:
    """Starts a process that packs a set, and rests so many seconds after each two objects."""
    program = tmp_path / "build.py"
    program.write_text(BUILD)
    started = []

    def start(root: Path, rest: float) -> subprocess.Popen[str]:
        command = [sys.executable, program, root, where, str(rest)]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def image(root: Path, identifier: int) -> Path:
    return cutout_path(root, SPACE, 0, SPACE.bands[0], identifier)


def is_running(process: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.slow
def test_a_build_that_is_killed_leaves_no_cache_and_no_processes(
    make_set: MakeSet, where: Path, start_build: Callable[[Path, float], subprocess.Popen[str]]
) -> None:
    root = make_set(count=12)
    building = start_build(root, 60)
    workers = [int(each) for each in building.stdout.readline().split()[1:]]
    assert len(workers) == 2
    building.send_signal(signal.SIGKILL)
    building.wait()
    assert load(root, "zscale", where) is None
    assert any(where.glob("*.partial"))
    deadline = time.monotonic() + 30
    while any(map(is_running, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(is_running, workers))

    list(build(root, "zscale", where, workers=1))
    cutouts = load(root, "zscale", where)
    assert cutouts is not None
    assert len(cutouts) == 12
    assert not any(where.glob("*.partial"))


@pytest.mark.slow
def test_ctrl_c_ends_a_build_with_one_interrupt_and_nothing_left(
    make_set: MakeSet, where: Path, start_build: Callable[[Path, float], subprocess.Popen[str]]
) -> None:
    building = start_build(make_set(count=12), 60)
    workers = [int(each) for each in building.stdout.readline().split()[1:]]
    for process in (*workers, building.pid):  # a terminal tells them all
        os.kill(process, signal.SIGINT)
    _, complaints = building.communicate(timeout=60)
    assert complaints.count("KeyboardInterrupt") == 1
    assert os.listdir(where) == [".lock"]  # noqa: PTH208 - the names alone are wanted


@pytest.mark.slow
def test_two_processes_build_the_same_set_once(
    make_set: MakeSet, where: Path, start_build: Callable[[Path, float], subprocess.Popen[str]]
) -> None:
    root = make_set(count=12)
    first = start_build(root, 0.1)
    assert first.stdout.readline()
    second = start_build(root, 0)
    outputs = [process.communicate(timeout=60) for process in (first, second)]
    assert [process.returncode for process in (first, second)] == [0, 0], outputs
    assert outputs[1][0].splitlines() == ["12"]
    cutouts = load(root, "zscale", where)
    assert cutouts is not None
    assert len(cutouts) == 12


def test_a_build_that_is_given_up_leaves_nothing(
    make_set: MakeSet, where: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.data.packing.SHARD", 2)
    building = build(make_set(), "zscale", where, workers=1)
    next(building)
    building.close()
    assert [path.name for path in where.iterdir()] == [".lock"]


def test_files_that_vanish_meanwhile_are_bad_ones(
    make_set: MakeSet, where: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.data.packing.SHARD", 2)
    root = make_set()
    building = build(root, "zscale", where, workers=1, max_bad=0.5)
    next(building)
    image(root, 100003).unlink()
    assert list(building) == [(4, 6), (6, 6)]
    [name] = [path.name for path in where.iterdir() if path.is_dir()]
    assert [each[0] for each in json.loads((where / name / "about.json").read_text())["bad"]] == [100003]


def test_bad_cutouts_are_left_out_named_and_counted(make_set: MakeSet, where: Path) -> None:
    root = make_set()
    image(root, 100001).write_bytes(b"<html>")
    list(build(root, "zscale", where, max_bad=0.2))
    cutouts = load(root, "zscale", where)
    assert cutouts is not None
    np.testing.assert_array_equal(cutouts.ids, [100000, 100002, 100003, 100004, 100005])
    np.testing.assert_array_equal(cutouts.labels, [0, 0, 1, 0, 1])
    assert cutouts.pixels.shape == (5, 1, 101, 101)
    [bad] = cutouts.bad
    assert bad.id == 100001
    assert bad.reason.startswith(str(image(root, 100001)))


def test_more_bad_cutouts_than_allowed_stop_the_work(make_set: MakeSet, where: Path) -> None:
    root = make_set()
    for identifier in range(100001, 100006):
        image(root, identifier).write_bytes(b"")
    message = rf"set: 5 of 6 objects cannot be read, more than --max-bad 0.01 allows: {image(root, 100001)}.*; …"
    with pytest.raises(TooManyBadCutouts, match=message):
        list(build(root, "zscale", where))
    assert [path.name for path in where.iterdir()] == [".lock"]
    list(build(root, "zscale", where, max_bad=0.9))
    with pytest.raises(TooManyBadCutouts, match="5 of 6 objects"):
        list(build(root, "zscale", where))


def test_a_set_of_bad_cutouts_alone_is_never_packed(make_set: MakeSet, where: Path) -> None:
    root = make_set(count=2)
    for identifier in (100000, 100001):
        image(root, identifier).write_bytes(b"")
    with pytest.raises(TooManyBadCutouts, match="2 of 2 objects cannot be read, which leaves none"):
        list(build(root, "zscale", where, max_bad=1.0))


def test_a_set_without_a_complete_object_says_which_bands_are_missing(make_set: MakeSet, where: Path) -> None:
    root = make_set(GROUND, 2)
    for identifier in (100000, 100001):
        cutout_path(root, GROUND, 0, GROUND.bands[2], identifier).unlink()
    with pytest.raises(DataError, match="not one object has all bands; 100000 has no file for G"):
        list(build(root, "zscale", where))


def test_labels_without_files_and_files_without_labels_are_named(make_set: MakeSet, where: Path) -> None:
    root = make_set(GROUND, 5)
    key = root / "classifications.csv"
    key.write_text(key.read_text().replace("100001,1,", "100009,1,"))
    cutout_path(root, GROUND, 0, GROUND.bands[2], 100003).unlink()
    list(build(root, "zscale", where))
    cutouts = load(root, "zscale", where)
    assert cutouts is not None
    np.testing.assert_array_equal(cutouts.ids, [100000, 100001, 100002, 100004])
    np.testing.assert_array_equal(cutouts.labels, [0, -1, 0, 0])
    assert (cutouts.unlabelled, cutouts.missing, cutouts.incomplete) == ((100001,), (100009,), (100003,))
    assert np.isnan(cutouts.columns["Einstein_area"][1])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "pixels cut short": lambda folder: os.truncate(folder / "pixels.f32", 5000),
    "pixels of more": lambda folder: os.truncate(folder / "pixels.f32", 1 << 20),
    "no pixels": lambda folder: (folder / "pixels.f32").unlink(),
    "rows cut short": lambda folder: os.truncate(folder / "rows.npz", 700),
    "a flipped byte": lambda folder: flip(folder / "rows.npz"),
    "no rows": lambda folder: (folder / "rows.npz").unlink(),
    "about empty": lambda folder: (folder / "about.json").write_text(""),
    "about something else": lambda folder: (folder / "about.json").write_text("[1]"),
    "nothing": lambda folder: [path.unlink() for path in folder.iterdir()],
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_pack_is_as_good_as_none_and_packed_anew(
    make_set: MakeSet, where: Path, damage: Callable[[Path], object]
) -> None:
    root = make_set()
    list(build(root, "zscale", where))
    [folder] = [path for path in where.iterdir() if path.is_dir()]
    damage(folder)
    assert load(root, "zscale", where) is None
    list(build(root, "zscale", where))
    cutouts = load(root, "zscale", where)
    assert cutouts is not None
    assert len(cutouts) == 6


def test_a_full_disk_says_so_and_leaves_nothing(make_set: MakeSet, where: Path) -> None:
    root = make_set()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(DataError, match=r"packed: a packed set cannot be kept here: File too large"):
            list(build(root, "zscale", where, workers=1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in where.iterdir()] == [".lock"]
