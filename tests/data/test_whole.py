"""A file that a user asks for is there whole, or as it was before."""

from __future__ import annotations

import ast
import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from orchestrator.data.whole import PARTIAL, output, write
from orchestrator.errors import DataError, Unreachable
from tests.conftest import ROOT
from tests.faults import Killed, Mode, watching

WRITES = {
    *("write_text", "write_bytes", "touch", "copyfile", "copy2", "copytree", "save", "savez", "savez_compressed"),
    *("savefig", "savetxt", "tofile", "to_csv", "to_parquet", "write_table", "write_html", "write_image"),
}
"""Methods and functions that write a file in place."""

ELSEWHERE = {
    "data/packing.py": "into a folder that gets its name when it is whole, see cache.py",
    "data/simulation/writer.py": "a cutout counts once the part of the truth that names it is there",
    "learning/finder.py": "into the temporary folder of a model that MLflow copies",
    "learning/pt2.py": "into memory, or for learning/finder.py",
    "reports/figures.py": "into memory",
    "reports/scorefile.py": "into what was opened on a partial file",
    "studies/export.py": "into memory",
    "tracking/artifacts.py": "into temporary folders, which MLflow copies",
}
"""Files that write otherwise than through `whole`, and why none that a user sees is ever half."""


@pytest.mark.parametrize("before", [None, "before"], ids=["new", "replaced"])
@pytest.mark.parametrize("mode", get_args(Mode))
def test_wherever_writing_ends_the_file_is_whole_or_as_before(mode: Mode, before: str | None, tmp_path: Path) -> None:
    path = tmp_path / "folder" / "page.html"
    with watching() as watch:
        write(path, "all of it")
    assert len(watch.places) >= 3  # its folder, the file, its name
    for place in range(len(watch.places)):
        path.unlink()
        if before:
            path.write_text(before)
        with contextlib.suppress(Killed, Unreachable, KeyboardInterrupt), watching(place, mode):
            write(path, "all of it")
        assert (path.read_text() if path.exists() else None) in (before, "all of it")
        write(path, "all of it")
        assert path.read_text() == "all of it"
        if mode != "killed":
            assert list(path.parent.iterdir()) == [path]


def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for name in ("there", "not yet there"):
        link = tmp_path / f"to {name}"
        link.symlink_to(tmp_path / "folder" / name)
        if name == "there":
            (tmp_path / "folder" / name).write_text("before")
        write(link, "é")
        assert link.is_symlink()
        assert (tmp_path / "folder" / name).read_bytes() == "é".encode()


def test_what_is_no_regular_file_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    code = "from pathlib import Path; from orchestrator.data.whole import write; write(Path('/dev/stdout'), 'told')"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True).stdout == b"told"
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write(tmp_path / "pipe", b"told")
    assert os.read(reader, 99) == b"told"
    os.close(reader)


def test_what_cannot_be_written_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file" / "page.html", tmp_path / ("long" * 70)):
        with pytest.raises(DataError, match=path.name[:4]):
            write(path, "text")
    assert [each for each in tmp_path.iterdir() if PARTIAL in each.name] == []


def test_an_error_of_whoever_writes_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), output(tmp_path / "page.html") as partial:
        _ = partial.write_text("half") / 0
    assert list(tmp_path.iterdir()) == []


def test_no_file_of_the_package_writes_in_place() -> None:
    writing = {
        f"{path.relative_to(ROOT / 'orchestrator')}"
        for path in (ROOT / "orchestrator").rglob("*.py")
        if any(map(_writes, ast.walk(ast.parse(path.read_text()))))
    }
    assert writing == ELSEWHERE.keys()


def _writes(node: ast.AST) -> bool:
    """Whether it writes to a path, other than to the one that `whole` and `output` give, which is called partial."""
    if not isinstance(node, ast.Call):
        return False
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    values = [*node.args, *(each.value for each in node.keywords)]
    modes = [each.value for each in values if isinstance(each, ast.Constant) and isinstance(each.value, str)]
    opens = name == "open" and any(set(each) & set("wax+") and set(each) <= set("rwaxbt+") for each in modes)
    at = [*values, *([node.func.value] if isinstance(node.func, ast.Attribute) else [])]
    known = any(isinstance(each, ast.Name) and each.id == "partial" for each in at)
    return (opens or (isinstance(node.func, ast.Attribute) and name in WRITES)) and not known
