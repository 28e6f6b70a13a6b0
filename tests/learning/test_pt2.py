"""Graphs are read only if nothing in them can run code: what torch's own reader would run is refused before."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import architectures
from orchestrator.data.challenge import MASKED
from orchestrator.learning import calibration, ensemble, finder, pt2
from orchestrator.learning.finder import Finder
from tests.conftest import Command

pytestmark = pytest.mark.filterwarnings("ignore")
CPU = torch.device("cpu")


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.by = nn.Parameter(torch.full((1,), 2.0))

    def forward(self, values: Tensor) -> Tensor:
        return values * self.by


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    program = torch.export.export(Twice(), (torch.ones(2),), dynamic_shapes=({0: torch.export.Dim("n", min=1, max=9)},))
    pt2.save(program, tmp_path / "graph.pt2")
    return tmp_path / "graph.pt2"


def changed(graph: Path, name: str, change: Callable[[bytes], bytes]) -> Path:
    """The archive with one of its files changed."""
    made = graph.with_name("changed.pt2")
    with zipfile.ZipFile(graph) as before, zipfile.ZipFile(made, "w") as after:
        for entry in before.namelist():
            content = before.read(entry)
            after.writestr(entry.replace("graph/", "changed/"), change(content) if entry.endswith(name) else content)
    return made


def test_what_was_written_is_read(graph: Path) -> None:
    assert pt2.load(graph, CPU).module()(torch.ones(5)).tolist() == [2.0] * 5
    same = changed(graph, "model.json", lambda content: content)
    assert pt2.load(same, CPU).module()(torch.ones(3)).tolist() == [2.0] * 3


def test_pickled_sample_inputs_run_in_torchs_reader_and_not_here(graph: Path, tmp_path: Path) -> None:
    command = pickle.dumps(Command(tmp_path / "ran"), protocol=2)
    file = changed(graph, "sample_inputs/model.pt", lambda _: command)
    with pytest.raises(ValueError, match="pickled sample inputs; not loaded, since it might run code"):
        pt2.load(file, CPU)
    assert not (tmp_path / "ran").exists()
    with pytest.raises(Exception):  # noqa: B017, PT011 - of what kind depends on what the command gave back
        torch.export.load(file)
    assert (tmp_path / "ran").exists(), "torch has mended its reader: this check may go"


def test_pickled_weights_are_refused(graph: Path) -> None:
    file = changed(
        graph, "weights_config.json", lambda text: text.replace(b'"use_pickle": false', b'"use_pickle": true')
    )
    with pytest.raises(ValueError, match="pickled tensors"):
        pt2.load(file, CPU)


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("target", "torch.hub.load", "calls torch.hub.load"),
        ("expr_str", "exit()", r"evaluates exit\(\)"),
        ("guards_code", ["exit()"], "holds Python code"),
    ],
)
def test_operators_and_code_that_ours_have_not_are_refused(graph: Path, key: str, value: object, told: str) -> None:
    def change(text: bytes) -> bytes:
        content = json.loads(text)
        places = [content]
        while places:
            place = places.pop()
            if isinstance(place, dict):
                if key in place:
                    place[key] = value
                    return json.dumps(content).encode()
                places.extend(place.values())
            elif isinstance(place, list):
                places.extend(place)
        raise AssertionError(f"the graph has no {key}")

    with pytest.raises(ValueError, match=told):
        pt2.load(changed(graph, "models/model.json", change), CPU)


def test_anything_else_in_the_archive_is_refused(graph: Path) -> None:
    with zipfile.ZipFile(graph, "a") as archive:
        archive.writestr("graph/data/constants/custom_obj_0", b"")
    with pytest.raises(ValueError, match="holds data/constants/custom_obj_0"):
        pt2.load(graph, CPU)


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pt2"
    path.write_bytes(pickle.dumps({}))
    with pytest.raises(ValueError, match="not an exported graph"):
        pt2.load(path, CPU)


class Sum(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return (images * torch.arange(101.0)).sum((1, 2, 3))


@pytest.mark.slow
def test_what_is_read_to_be_run_gives_the_same_bits_as_what_torch_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    scores = np.linspace(-1, 1, 50)
    labels = (scores + np.sin(9 * scores) > 0).astype(np.int8)
    finder.export(Finder(Sum(), "asinh"), 2, 101, tmp_path / "sum.pt2")
    small = pt2.read(tmp_path / "sum.pt2", CPU)  # what is read can be part of another
    members = [
        Finder(architectures.create("cmu_deeplens", bands=2), "zscale"),
        calibration.Calibrated(ensemble.Orientations(small), calibration.isotonic(labels, scores)),
    ]
    both = ensemble.combine(members, "rank", labels, np.stack([scores, scores**3]))
    finder.export(both, 2, 101, tmp_path / "graph.pt2")
    program = pt2.load(tmp_path / "graph.pt2", CPU)
    with monkeypatch.context() as patch:
        patch.setattr(pt2, "load", None)  # it is not needed
        found = pt2.read(tmp_path / "graph.pt2", CPU)
    flux = torch.from_numpy(np.random.default_rng(0).normal(0, 1e-12, (5, 2, 101, 101)).astype(np.float32))
    flux[0, 0, :9], flux[1, 1, 50, 50], flux[2] = MASKED, torch.nan, 0
    for count in (5, 1):
        with torch.inference_mode():
            expected, scores = program.module()(flux[:count]), found(flux[:count])
        assert list(scores) == ["logit", "probability"]
        assert all(torch.equal(scores[name], expected[name]) for name in expected)


def test_another_version_of_the_format_is_left_to_torch_and_no_name_of_a_file_becomes_code(graph: Path) -> None:
    same = torch.full((3,), 2.0)
    assert torch.equal(pt2.read(graph, CPU)(torch.ones(3)), same)
    code = changed(graph, "model.json", lambda text: text.replace(b'"values"', b'"values=exit()"'))
    assert torch.equal(pt2.read(code, CPU)(torch.ones(3)), same)
    with graph.open("rb") as file, pytest.MonkeyPatch.context() as patch:
        patch.setattr(pt2, "SCHEMA", 0)
        assert torch.equal(pt2.read(file, CPU)(torch.ones(3)), same)
    with pytest.raises(ValueError, match="pickled tensors"):
        pt2.read(
            changed(graph, "weights_config.json", lambda text: text.replace(b'pickle": false', b'pickle": true')), CPU
        )
