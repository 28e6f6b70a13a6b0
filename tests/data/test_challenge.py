from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from orchestrator.data import sources
from orchestrator.data.catalogue import read_labels
from orchestrator.data.challenge import GROUND, SPACE, cutout_path, named, scan
from orchestrator.data.fits import read_cutout
from orchestrator.errors import DataError

MakeSet = Callable[..., Path]


def test_the_bands_of_an_object_come_in_the_order_r_i_g_u(make_set: MakeSet) -> None:
    root = make_set(GROUND, 2)
    release = scan(root)
    assert release.set is GROUND
    assert [each.id for each in release.objects] == [100000, 100001]
    names = [f"Band{n}/imageSDSS_{band}-100000.fits" for n, band in enumerate("RIGU", start=1)]
    assert release.objects[0].paths == tuple(root / "Data_KiDS_Big.0" / "Public" / name for name in names)


def test_all_data_folders_are_one_release(make_set: MakeSet) -> None:
    root = make_set(SPACE, 2)
    make_set(SPACE, 2, part=10, first=100004)
    make_set(SPACE, 2, part=2, first=100002)
    release = scan(root)
    assert [each.id for each in release.objects] == list(range(100000, 100006))
    assert release.incomplete == {}


def test_an_object_without_all_bands_is_named_and_set_apart(make_set: MakeSet) -> None:
    root = make_set(GROUND, 3)
    for band in (GROUND.bands[1], GROUND.bands[3]):
        cutout_path(root, GROUND, 0, band, 100001).unlink()
    release = scan(root)
    assert [each.id for each in release.objects] == [100000, 100002]
    assert release.incomplete == {100001: ("I", "U")}


def test_other_files_are_no_cutouts(make_set: MakeSet) -> None:
    root = make_set(SPACE, 1)
    band = root / "Data_EuclidBig.0" / "Public" / "Band1"
    for name in (
        "imageEUC_VIS-a.fits", f"imageEUC_VIS-{'9' * 25}.fits", "imageEUC_VIS-7.fits.bak", "._imageEUC_VIS-100001.fits",
        ".DS_Store", "Thumbs.db", "imageEUC_VIS-8.png",
    ):  # fmt: skip
        (band / name).touch()
    (root / "__MACOSX" / "Band1").mkdir(parents=True)
    (root / "__MACOSX" / "Band1" / "imageEUC_VIS-100000.fits").touch()
    for name in ("Data_EuclidBig.old", "Data_EuclidBig", "Other"):
        (root / name).mkdir()
    assert [each.id for each in scan(root).objects] == [100000]


@pytest.mark.parametrize("suffix", [".fits", ".FITS", ".fit", ".fts", ".fits.gz", ".FITS.GZ"])
@pytest.mark.parametrize(
    "layout", ["Public/Band{n}", "Data.0/Public/Band{n}", "files", ".", "down/Data.0/Public/Band{n}"]
)
def test_the_training_release_is_found_as_it_unpacks_and_read_by_all(
    layout: str, suffix: str, make_set: MakeSet, tmp_path: Path
) -> None:
    made, root = make_set(GROUND, 4, to="made"), tmp_path / "release"
    root.mkdir()
    for n, band in enumerate(GROUND.bands, start=1):
        place = root / layout.format(n=n)
        place.mkdir(parents=True, exist_ok=True)
        for identifier in range(100000, 100004):
            content = cutout_path(made, GROUND, 0, band, identifier).read_bytes()
            packed = gzip.compress(content) if suffix.lower().endswith("gz") else content
            (place / f"{band.prefix}-{identifier}{suffix}").write_bytes(packed)
    (made / "classifications.csv").rename(root / "classifications.csv")
    release, expected = scan(root), scan(made)
    assert [each.id for each in release.objects] == [each.id for each in expected.objects]
    for found, other in zip(release.objects, expected.objects, strict=True):
        np.testing.assert_array_equal(read_cutout(found.paths), read_cutout(other.paths))
    assert read_labels(root, GROUND).labels == {100000: 0, 100001: 1, 100002: 0, 100003: 1}
    piece = sources.find(root, GROUND).read(0, 4)
    assert [row.id for row in piece.rows] == [str(each.id) for each in release.objects]
    assert piece.good.all()


def test_the_key_is_found_above_a_folder_of_a_release_and_not_above_others(make_set: MakeSet) -> None:
    root = make_set(SPACE, 2)
    for inner in ("Data_EuclidBig.0", "Data_EuclidBig.0/Public", "Data_EuclidBig.0/Public/Band1"):
        assert read_labels(root / inner, SPACE).labels == {100000: 0, 100001: 1}
        assert len(scan(root / inner).objects) == 2
    (root / "Data_EuclidBig.0").rename(root / "mine")
    assert read_labels(root / "mine", SPACE).labels == {}
    assert read_labels(root, SPACE).labels == {100000: 0, 100001: 1}


def test_folders_may_be_links_even_to_each_other(make_set: MakeSet, tmp_path: Path) -> None:
    root, linked = make_set(SPACE, 2), tmp_path / "linked"
    linked.mkdir()
    (linked / "Data_EuclidBig.0").symlink_to(root / "Data_EuclidBig.0")
    (root / "Data_EuclidBig.0" / "again").symlink_to(root)
    assert [each.id for each in scan(linked).objects] == [each.id for each in scan(root).objects] == [100000, 100001]


def test_one_object_in_two_forms_is_refused_with_both(make_set: MakeSet) -> None:
    root = make_set(SPACE, 2)
    path = cutout_path(root, SPACE, 0, SPACE.bands[0], 100001)
    path.with_suffix(".fits.gz").write_bytes(gzip.compress(path.read_bytes()))
    for read in (scan, lambda root: sources.find(root, SPACE)):
        with pytest.raises(DataError, match=r"100001\.fits.*: object 100001 stands in .*100001\.fits"):
            read(root)


def test_the_real_sets_are_found(challenge1: Path) -> None:
    space, ground = scan(challenge1 / "space"), scan(challenge1 / "ground")
    assert (space.set, len(space.objects), space.incomplete) == (SPACE, 8, {})
    assert (ground.set, len(ground.objects), ground.incomplete) == (GROUND, 6, {})
    assert 100013 in {each.id for each in ground.objects}


def test_a_folder_without_cutouts_says_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere: no such folder"):
        scan(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"file: no such folder"):
        scan(tmp_path / "file")
    with pytest.raises(DataError, match=r"no file named imageEUC_VIS-<ID>\.fits or imageSDSS_R-<ID>\.fits"):
        scan(tmp_path)


def test_two_sets_in_one_folder_are_refused(make_set: MakeSet) -> None:
    make_set(SPACE, 1)
    with pytest.raises(DataError, match="holds both a Space and a Ground set"):
        scan(make_set(GROUND, 1))


def test_a_folder_without_permission_says_so(make_set: MakeSet, request: pytest.FixtureRequest) -> None:
    root = make_set(SPACE, 1)
    root.chmod(0)
    request.getfixturevalue("without_privileges")
    with pytest.raises(DataError, match=r"set: Permission denied"):
        scan(root)


def test_one_identifier_twice_is_refused_with_both_places(make_set: MakeSet) -> None:
    root = make_set(SPACE, 2)
    make_set(SPACE, 1, part=1, first=100001)
    with pytest.raises(DataError, match=r"Data_EuclidBig\.1.*object 100001 stands in .*Data_EuclidBig\.0"):
        scan(root)


def test_a_set_is_known_by_its_name() -> None:
    assert (named("space"), named("ground")) == (SPACE, GROUND)
    with pytest.raises(DataError, match=r"no set 'spcae': did you mean 'space'\? \(allowed: space, ground\)"):
        named("spcae")
