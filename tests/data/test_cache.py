from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.io import fits

from orchestrator.data.cache import build, load
from orchestrator.data.challenge import GROUND, SIZE, SPACE, cutout_path
from orchestrator.data.cutouts import Cutouts
from orchestrator.data.normalise import NORMALISATIONS, prepare
from orchestrator.errors import DataError, Unreachable
from orchestrator.learning.batches import Batches
from orchestrator.learning.recipe import recipe
from orchestrator.learning.training import begin, train
from tests.faults import watching

MakeSet = Callable[..., Path]
CPU = torch.device("cpu")


@pytest.fixture
def where(tmp_path: Path) -> Path:
    return tmp_path / "packed"


def packed(root: Path, where: Path, normalisation: str = "zscale", **options: float) -> Cutouts:
    list(build(root, normalisation, where, workers=1, **options))
    cutouts = load(root, normalisation, where)
    assert cutouts is not None
    return cutouts


def folders(where: Path) -> list[str]:
    return sorted(path.name for path in where.iterdir() if path.name != ".lock")


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_what_is_packed_is_what_astropy_reads_normalised(make_set: MakeSet, where: Path, normalisation: str) -> None:
    root = make_set(GROUND, 5)
    cutouts = packed(root, where, normalisation)
    raw = np.stack(
        [
            np.stack([fits.getdata(cutout_path(root, GROUND, 0, band, identifier)) for band in GROUND.bands])
            for identifier in range(100000, 100005)
        ]
    ).astype(np.float32)
    np.testing.assert_array_equal(cutouts.pixels, prepare(raw, normalisation)[0])
    np.testing.assert_array_equal(cutouts.ids, range(100000, 100005))
    np.testing.assert_array_equal(cutouts.labels, [0, 1, 0, 1, 0])
    np.testing.assert_array_equal(cutouts.columns["Einstein_area"], [0, 0.25, 0.5, 0.75, 1])
    assert (cutouts.set, cutouts.root, cutouts.normalisation) == (GROUND, root, normalisation)
    assert len(cutouts) == 5
    assert len(set(cutouts.content.tolist())) == 5
    assert not cutouts.masked.any()
    assert (cutouts.bad, cutouts.unlabelled, cutouts.missing, cutouts.incomplete) == ((), (), (), ())


def test_a_training_of_what_is_packed_reads_no_file_of_the_set(make_set: MakeSet, where: Path) -> None:
    root = make_set()
    cutouts, rows = packed(root, where, "asinh"), np.arange(4)
    shutil.rmtree(root)
    asked = recipe({"architecture": "lens_flow", "epochs": 2, "batch_size": 2})
    images = Batches(cutouts.pixels, cutouts.labels, rows, 2, CPU, asked.augment, asked.seed)
    epochs = train(begin(asked, len(cutouts.set.bands), SIZE, CPU), images.epoch, 2, lambda _: {})
    assert all(np.isfinite(epoch.loss) for epoch in epochs)


def test_pixels_are_mapped_and_cannot_be_changed(make_set: MakeSet, where: Path) -> None:
    cutouts = packed(make_set(), where)
    assert isinstance(cutouts.pixels, np.memmap)
    assert not cutouts.pixels.flags.writeable


def test_the_real_sets_are_packed(challenge1: Path, where: Path) -> None:
    space, ground = packed(challenge1 / "space", where), packed(challenge1 / "ground", where)
    assert space.pixels.shape == (8, 1, 101, 101)
    assert ground.pixels.shape == (6, 4, 101, 101)
    for cutouts in (space, ground):
        assert np.isfinite(cutouts.pixels).all()
        assert set(cutouts.labels.tolist()) == {0, 1}
        assert cutouts.pixels.std(axis=(2, 3)).min() > 0.01
    masked = dict(zip(ground.ids.tolist(), ground.masked.tolist(), strict=True))
    assert masked[100023][0] == 15
    assert masked[100003][3] == 49
    assert ground.masked.sum() == 15 + 49
    assert not space.masked.any()
    assert 100000 in ground.missing
    assert ground.unlabelled == ()


def test_progress_goes_up_to_all_objects(make_set: MakeSet, where: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.data.packing.SHARD", 4)
    root = make_set(count=10)
    assert list(build(root, "zscale", where, workers=1)) == [(4, 10), (8, 10), (10, 10)]


@pytest.mark.parametrize(("shard", "chunk"), [(1, 1), (3, 2), (4, 32)])
@pytest.mark.slow
def test_neither_processes_nor_portions_change_what_is_packed(
    make_set: MakeSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shard: int, chunk: int
) -> None:
    root = make_set(count=9)
    for identifier in (100000, 100004, 100005):
        cutout_path(root, SPACE, 0, SPACE.bands[0], identifier).write_bytes(b"")
    whole = packed(root, tmp_path / "one", max_bad=0.5)
    monkeypatch.setattr("orchestrator.data.packing.SHARD", shard)
    monkeypatch.setattr("orchestrator.data.packing.CHUNK", chunk)
    list(build(root, "zscale", tmp_path / "more", max_bad=0.5, workers=2))
    parts = load(root, "zscale", tmp_path / "more")
    assert parts is not None
    for name in ("ids", "pixels", "labels", "masked", "content"):
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))
    assert (parts.digest, parts.bad) == (whole.digest, whole.bad)
    assert [each.id for each in parts.bad] == [100000, 100004, 100005]


def test_a_set_is_packed_once(make_set: MakeSet, where: Path) -> None:
    root = make_set()
    assert load(root, "zscale", where) is None
    packed(root, where)
    [name] = folders(where)
    made = (where / name).stat()
    assert list(build(root, "zscale", where)) == [(6, 6)]
    assert (where / name).stat() == made


def change_time(root: Path) -> None:
    os.utime(cutout_path(root, SPACE, 0, SPACE.bands[0], 100002))


def change_pixels(root: Path) -> None:
    """Another file of the same size and modification time."""
    path = cutout_path(root, SPACE, 0, SPACE.bands[0], 100002)
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[5000] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def change_permissions(root: Path) -> None:
    cutout_path(root, SPACE, 0, SPACE.bands[0], 100002).chmod(0o600)


def change_label(root: Path) -> None:
    key = root / "classifications.csv"
    key.write_text(key.read_text().replace("100000,0", "100000,1"))


def add_truth(root: Path) -> None:
    (root / "truth.csv").write_text("ID,theta_E\n100000,1.5")


def add_object(root: Path) -> None:
    path = cutout_path(root, SPACE, 0, SPACE.bands[0], 100002)
    path.with_name("imageEUC_VIS-7.fits").write_bytes(path.read_bytes())


def remove_object(root: Path) -> None:
    cutout_path(root, SPACE, 0, SPACE.bands[0], 100002).unlink()


def move_folder(root: Path) -> None:
    (root / "Data_EuclidBig.0").rename(root / "Data_EuclidBig.1")


@pytest.mark.parametrize(
    "change",
    [
        change_time,
        change_pixels,
        change_permissions,
        change_label,
        add_truth,
        add_object,
        remove_object,
        move_folder,
    ],
)
def test_any_change_of_the_files_packs_anew_and_replaces(
    make_set: MakeSet, where: Path, change: Callable[[Path], None]
) -> None:
    root = make_set()
    packed(root, where)
    before = folders(where)
    change(root)
    assert load(root, "zscale", where) is None
    cutouts = packed(root, where)
    assert len(cutouts) == {add_object: 7, remove_object: 5}.get(change, 6)
    assert cutouts.labels[cutouts.ids == 100000] == (1 if change is change_label else 0)
    assert ("theta_E" in cutouts.columns) == (change is add_truth)
    assert len(folders(where)) == 1
    assert folders(where) != before


def test_what_was_packed_is_found_again_where_the_files_were_moved_and_not_where_they_were_copied(
    make_set: MakeSet, where: Path, tmp_path: Path
) -> None:
    root = make_set() / "Data_EuclidBig.0"  # whose key is above it
    before = packed(root, where)
    (tmp_path / "elsewhere").mkdir()
    moved = root.parent.rename(tmp_path / "elsewhere" / "moved") / root.name
    there = where.rename(tmp_path / "elsewhere" / "packed")
    pixels = {path: path.stat().st_ino for path in there.rglob("pixels.f32")}
    assert list(build(moved, "zscale", there)) == [(6, 6)]
    found = load(moved, "zscale", there)
    assert found is not None
    assert (found.root, found.digest) == (moved, before.digest)
    assert {path.stat().st_ino for path in there.rglob("pixels.f32")} == set(pixels.values())
    copied = Path(shutil.copytree(moved.parent, tmp_path / "copied")) / root.name
    assert load(copied, "zscale", there) is None
    change_time(moved.parent)
    packed(moved, there)
    assert len(folders(there)) == 1


def test_other_sets_and_other_normalisations_are_kept(make_set: MakeSet, where: Path) -> None:
    here, there = make_set(), make_set(to="other", first=200_000)
    for root in (here, there):
        packed(root, where)
        packed(root, where, "none")
    assert len(folders(where)) == 4
    change_time(here)
    packed(here, where)
    assert len(folders(where)) == 4
    assert load(there, "zscale", where) is not None
    assert load(here, "none", where) is None


def test_a_set_is_the_same_however_its_folder_is_written(
    make_set: MakeSet, where: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_set()
    packed(root, where)
    monkeypatch.chdir(root.parent)
    assert load(Path("set"), "zscale", where) is not None
    assert load(Path("set/../set"), "zscale", where) is not None


def test_the_digest_is_of_contents_and_labels_alone(make_set: MakeSet, tmp_path: Path, where: Path) -> None:
    root = make_set()
    digest = packed(root, where).digest
    copy = make_set(to="copy")
    assert packed(copy, where, "none").digest == digest
    change_label(copy)
    assert packed(copy, where).digest != digest
    change_pixels(root)
    assert packed(root, where).digest != digest


def test_an_unknown_normalisation_is_refused_with_those_there_are(make_set: MakeSet, where: Path) -> None:
    with pytest.raises(DataError, match=r"no normalisation 'zscael': did you mean 'zscale'\? \(allowed: zscale, asinh"):
        next(build(make_set(), "zscael", where))
    assert not where.exists()


def test_a_full_disk_is_told_as_what_may_work_later(make_set: MakeSet, where: Path) -> None:
    root = make_set()
    with watching(0), pytest.raises(Unreachable, match=r"packed: a packed set cannot be kept here: No space left"):
        next(build(root, "zscale", where))


def test_a_place_that_cannot_be_written_says_so(make_set: MakeSet, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"file: a packed set cannot be kept here: File exists"):
        next(build(make_set(), "zscale", tmp_path / "file"))
