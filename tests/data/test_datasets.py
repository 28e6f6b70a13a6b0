from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.data import datasets
from orchestrator.data.challenge import GROUND, SPACE, scan
from orchestrator.errors import DataError


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets, "COUNT", 3)


def test_a_folder_is_itself(tmp_path: Path) -> None:
    assert datasets.folder(str(tmp_path)) == tmp_path
    assert datasets.folder(".") == Path()


@pytest.mark.parametrize("name", ["simulated-spcae", "nowhere/at/all", "file", "x" * 5000, "nul\0"])
def test_neither_a_folder_nor_a_name_is_refused_with_the_names(name: str) -> None:
    Path("file").touch()
    with pytest.raises(
        DataError, match=r"allowed: a folder of cutouts, or simulated-space, simulated-ground"
    ) as caught:
        datasets.folder(name)
    assert str(caught.value).startswith(name.replace("\0", "\\x00") + ": ")


@pytest.mark.parametrize(("name", "imaging"), [("simulated-space", SPACE), ("simulated-ground", GROUND)])
def test_a_named_set_is_simulated_once_and_kept(name: str, imaging: object) -> None:
    assert list(datasets.make(name))[-1] == (3, 3)
    folder = datasets.folder(name)
    assert folder == Path("data") / name
    release = scan(folder)
    assert release.set is imaging
    assert len(release.objects) == 3
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert list(datasets.make(name)) == []
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_a_named_set_that_was_not_finished_goes_on() -> None:
    for _ in datasets.make("simulated-space"):
        break
    assert not (datasets.folder("simulated-space") / "classifications.csv").exists()
    list(datasets.make("simulated-space"))
    assert len(scan(datasets.folder("simulated-space")).objects) == 3


def test_a_folder_of_the_user_is_never_simulated_into(make_set: Callable[..., Path]) -> None:
    root = make_set()
    before = sorted(os.walk(root))
    assert list(datasets.make(str(root))) == []
    assert sorted(os.walk(root)) == before


def test_a_name_with_a_number_has_the_first_so_many_objects() -> None:
    for name in ("simulated-space-2", "simulated-space"):
        list(datasets.make(name))
    few, all_of_them = (scan(datasets.folder(name)) for name in ("simulated-space-2", "simulated-space"))
    assert len(few.objects) == 2
    for one, other in zip(few.objects, all_of_them.objects, strict=False):
        assert one.paths[0].read_bytes() == other.paths[0].read_bytes()
    for wrong in ("simulated-space-0", "simulated-space-x", "simulated-space-"):
        with pytest.raises(DataError, match="as in simulated-space-500"):
            datasets.folder(wrong)
