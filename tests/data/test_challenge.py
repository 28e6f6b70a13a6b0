from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.data.challenge import GROUND, SPACE, cutout_path, named, scan
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
        "imageEUC_VIS-7.fits.gz",
        "imageEUC_VIS-a.fits",
        "imageSDSS_R-8.fits",
        f"imageEUC_VIS-{'9' * 25}.fits",
    ):
        (band / name).touch()
    for name in ("Data_EuclidBig.old", "Data_EuclidBig", "Other"):
        (root / name).mkdir()
    assert [each.id for each in scan(root).objects] == [100000]


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
    with pytest.raises(DataError, match=r"expected folders named Data_EuclidBig\.N or Data_KiDS_Big\.N"):
        scan(tmp_path)
    (tmp_path / "Data_EuclidBig.0").mkdir()
    with pytest.raises(DataError, match=r"no file named imageEUC_VIS-<ID>\.fits"):
        scan(tmp_path)
    (tmp_path / "Data_KiDS_Big.0").mkdir()
    with pytest.raises(DataError, match="holds both a Space and a Ground set"):
        scan(tmp_path)


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
