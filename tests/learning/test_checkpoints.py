"""Checkpoints: whole or not there at all, and good for their own recipe alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from orchestrator.errors import RecipeError
from orchestrator.learning.recipe import recipe
from orchestrator.learning.training import Training, begin, restore, save

NAME = "checkpoint.pt"


def start(seed: int = 1, bands: int = 1) -> Training:
    return begin(recipe({"architecture": "lens_flow", "epochs": 4, "seed": seed}), bands, 24, torch.device("cpu"))


class Unwritable:
    """Raises in the middle of writing, as a full disk or Ctrl-C would."""

    def __reduce__(self) -> str:
        raise KeyboardInterrupt


def test_a_checkpoint_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    training = start()
    save(training, tmp_path / NAME, {"which": "first"})
    training.epoch = 1
    with pytest.raises(KeyboardInterrupt):
        save(training, tmp_path / NAME, {"which": Unwritable()})
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
    resumed = start()
    assert restore(resumed, tmp_path / NAME) == {"which": "first"}
    assert resumed.epoch == 0


def test_a_later_checkpoint_takes_the_place_of_an_earlier_one(tmp_path: Path) -> None:
    training, resumed = start(), start()
    for epoch in (1, 2):
        training.epoch = epoch
        save(training, tmp_path / NAME, {"epoch": epoch})
    assert restore(resumed, tmp_path / NAME) == {"epoch": 2}
    assert resumed.epoch == 2
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_a_checkpoint_of_another_recipe_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    save(start(seed=1), tmp_path / NAME, {})
    training = start(seed=2)
    with pytest.raises(RecipeError, match=r"checkpoint\.pt: a checkpoint of another recipe"):
        restore(training, tmp_path / NAME)
    for ours, fresh in zip(training.network.parameters(), start(seed=2).network.parameters(), strict=True):
        assert torch.equal(ours, fresh)


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "of more bands", "no checkpoint"])
def test_a_broken_checkpoint_is_refused_by_name(damage: str, tmp_path: Path) -> None:
    path = tmp_path / NAME
    save(start(bands=4 if damage == "of more bands" else 1), path, {})
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:5000])
    elif damage == "no checkpoint":
        torch.save({"weights": torch.zeros(3)}, path)
    elif damage != "of more bands":
        path.write_text("" if damage == "empty" else "weights")
    with pytest.raises(RecipeError, match=r"checkpoint\.pt: not a readable checkpoint \(.*\)") as caught:
        restore(start(), path)
    assert "\n" not in str(caught.value)
