"""Files cut at any length or with a bit turned: noticed and named, or not a value of them is changed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.data import cache
from orchestrator.data.whole import whole
from orchestrator.errors import RecipeError
from orchestrator.learning.recipe import recipe
from orchestrator.learning.training import Training, begin, restore, save
from orchestrator.reports.scorefile import Parts

few = settings(
    max_examples=40, deadline=None, database=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip


def training() -> Training:
    return begin(recipe({"architecture": "lens_flow", "epochs": 4, "seed": 1}), 1, 24, torch.device("cpu"))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("checkpoint") / "checkpoint.pt"
    made = training()
    made.epoch = 3
    save(made, path, {"which": "third"})
    return path.read_bytes()


@few
@given(where=st.floats(0, 1, exclude_max=True))
def test_a_checkpoint_that_was_cut_is_refused_by_name(where: float, checkpoint: bytes, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(checkpoint[: int(where * len(checkpoint))])
    with pytest.raises(RecipeError, match=r"checkpoint\.pt") as caught:
        restore(training(), path)
    assert "\n" not in str(caught.value)


@few
@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_checkpoint_with_a_bit_turned_is_refused_or_the_same(
    where: float, bit: int, checkpoint: bytes, tmp_path: Path
) -> None:
    path, at = tmp_path / "checkpoint.pt", int(where * len(checkpoint))
    path.write_bytes(checkpoint[:at] + bytes([checkpoint[at] ^ 1 << bit]) + checkpoint[at + 1 :])
    resumed, same = training(), training()
    try:
        notes = restore(resumed, path)
    except RecipeError:
        return
    assert (notes, resumed.epoch) == ({"which": "third"}, 3)
    for ours, expected in zip(resumed.network.parameters(), same.network.parameters(), strict=True):
        assert torch.equal(ours, expected)


def test_a_packed_set_that_was_cut_anywhere_is_packed_again(tiny_space: Path, tmp_path: Path) -> None:
    def packed() -> tuple[Path, bytes]:
        for _ in cache.build(tiny_space, "none", tmp_path, workers=1):
            pass
        found = cache.load(tiny_space, "none", tmp_path)
        assert found is not None
        (folder,) = (path.parent for path in tmp_path.rglob("about.json"))
        return folder, np.ascontiguousarray(found.pixels).tobytes() + found.content.tobytes() + found.labels.tobytes()

    folder, expected = packed()
    for name in ("pixels.f32", "rows.npz", "about.json"):
        for share in (0, 0.3, 0.99):
            content = (folder / name).read_bytes()
            (folder / name).write_bytes(content[: int(share * len(content))])
            assert cache.load(tiny_space, "none", tmp_path) is None
            assert packed() == (folder, expected)


def test_a_part_of_scores_that_was_cut_anywhere_is_missing(tmp_path: Path) -> None:
    parts = Parts(tmp_path / "out.parquet", {"model": "m"}, 3, lambda *_: "same")
    columns = {
        **{name: ["a", "b", "c"] for name in ("id", "path", "flags")},
        **{name: np.zeros(3, np.float32) for name in ("logit", "probability")},
        **{name: [0.0, 0.0, 0.0] for name in ("ra", "dec")},
        "masked": [0, 0, 0],
        "reason": [None] * 3,
    }
    with parts.opened(overwrite=False, resume=False):
        parts.write(range(3), columns, "same")
        assert parts.missing() == []
        (path,) = parts.folder.glob("*.parquet")
        content = path.read_bytes()
        assert pyarrow.parquet.read_table(path).num_rows == 3
        for length in range(0, len(content), 97):
            path.write_bytes(content[:length])
            assert parts.missing() == [range(3)], length


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("before")
    with pytest.raises(ZeroDivisionError), whole(path) as partial:
        partial.write_bytes(b"half" * (partial.write_text("half") // 0))
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]
