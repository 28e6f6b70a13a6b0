"""Every image once an epoch, the same each time, wherever the pixels are."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import RecipeError
from orchestrator.learning.batches import AHEAD, Batch, Batches, ahead
from orchestrator.learning.transformations import TRANSFORMATIONS

CPU = torch.device("cpu")
ROOM = {"resident": 10**9, "read ahead": 0}


def batches(rows: int = 20, size: int = 8, **other: Any) -> Batches:
    """Images whose every pixel is the number of their row; odd rows are lenses, and every third is not trained on."""
    count = 2 * rows
    pixels = np.broadcast_to(np.arange(count, dtype=np.float32)[:, None, None, None], (count, 1, size, size)).copy()
    chosen = np.array([row for row in range(count) if row % 3][:rows])
    settings = {"batch_size": 6, "device": CPU, "augment": (), "seed": 1, **other}
    return Batches(pixels, (np.arange(count) % 2).astype(np.int8), chosen, **settings)


def same(one: list[Batch], other: list[Batch]) -> bool:
    return all(torch.equal(a, b) for x, y in zip(one, other, strict=True) for a, b in zip(x, y, strict=True))


@given(rows=st.integers(2, 40), batch_size=st.integers(2, 12), epoch=st.integers(1, 5))
def test_an_epoch_is_every_chosen_image_once_with_its_label(rows: int, batch_size: int, epoch: int) -> None:
    made = batches(rows, size=1, batch_size=batch_size)
    parts = list(made.epoch(epoch))
    numbers = torch.cat([part.images for part in parts]).flatten().long()
    assert sorted(numbers.tolist()) == made.rows.tolist()
    assert (torch.cat([part.labels for part in parts]) == numbers % 2).all()
    assert len(parts) == len(made)
    sizes = [len(part.labels) for part in parts]
    assert all(size == batch_size for size in sizes[:-1])
    assert 2 <= sizes[-1] <= batch_size + 1  # batch norm cannot do with one


def test_images_and_labels_are_float32() -> None:
    batch = next(iter(batches().epoch(1)))
    assert (batch.images.dtype, batch.labels.dtype) == (torch.float32, torch.float32)
    assert (batch.images.shape, batch.labels.shape) == ((6, 1, 8, 8), (6,))


@pytest.mark.parametrize("room", ROOM.values(), ids=ROOM)
def test_seed_and_epoch_alone_decide_the_batches(room: int) -> None:
    made = batches(augment=TRANSFORMATIONS, room=room)
    third = list(made.epoch(3))
    next(iter(made.epoch(1)))  # an epoch that is broken off
    torch.manual_seed(77)
    assert same(third, list(made.epoch(3)))
    assert not same(third, list(made.epoch(4)))
    assert not same(third, list(batches(augment=TRANSFORMATIONS, room=room, seed=2).epoch(3)))


def test_augmentation_changes_images_but_not_their_order() -> None:
    plain, augmented = (list(batches(augment=names).epoch(2)) for names in ((), TRANSFORMATIONS))
    for before, after in zip(plain, augmented, strict=True):  # each image has one value, whatever is done to it
        assert torch.equal(before.labels, after.labels)
        torch.testing.assert_close(before.images, after.images)


def test_the_global_random_state_stays_as_it_is() -> None:
    before = torch.get_rng_state()
    list(batches(augment=TRANSFORMATIONS).epoch(1))
    assert torch.equal(before, torch.get_rng_state())


def test_pixels_on_the_device_give_the_very_batches_that_pixels_on_disk_give(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).normal(size=(3000, 2, 6, 6)).astype(np.float32)
    np.save(tmp_path / "pixels.npy", pixels)
    mapped = np.load(tmp_path / "pixels.npy", mmap_mode="r")
    labels, rows = np.zeros(3000, np.int8), np.arange(0, 3000, 2)
    resident, read = (
        Batches(mapped, labels, rows, 64, CPU, TRANSFORMATIONS, seed=5, room=room) for room in ROOM.values()
    )
    for epoch in (1, 2):
        assert same(list(resident.epoch(epoch)), list(read.epoch(epoch)))


@pytest.mark.parametrize("missing", [0, 1])
def test_pixels_are_kept_on_the_device_where_all_that_is_trained_on_fits(missing: int) -> None:
    needed = 20 * 8 * 8 * 4  # of the chosen rows alone
    made = batches(room=needed - missing)
    list(made.epoch(1))
    made.pixels[:] = -1  # what was kept does not notice
    seen = torch.cat([batch.images for batch in made.epoch(2)])
    assert bool((seen >= 0).all()) == (missing == 0)


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_images_cannot_be_trained_on(count: int) -> None:
    with pytest.raises(RecipeError, match=f"two cutouts or more; there are {count}"):
        batches(count)


def test_results_made_ahead_keep_their_order_and_run_no_further_ahead_than_told() -> None:
    made: list[int] = []
    results = ahead(lambda part: made.append(part) or 10 * part, range(20), 3)
    assert next(results) == 0
    assert len(made) <= 4
    assert list(results) == [10 * part for part in range(1, 20)]
    assert made == list(range(20))


def test_an_error_arrives_where_the_result_would_have() -> None:
    results = ahead(lambda part: 6 // part, [1, 2, 0, 3], AHEAD)
    assert [next(results), next(results)] == [6, 3]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_breaking_off_ends_the_thread() -> None:
    before = set(threading.enumerate())
    results = ahead(lambda part: part, range(100), 2)
    next(results)
    assert set(threading.enumerate()) > before
    results.close()
    assert set(threading.enumerate()) == before


def test_a_text_in_place_of_names_is_refused_before_anything_is_trained() -> None:
    pixels, labels = np.zeros((4, 1, 9, 9), np.float32), np.array([0, 1, 0, 1], np.int8)
    with pytest.raises(RecipeError, match="transformations 'dihedral': a sequence of names is expected"):
        Batches(pixels, labels, np.arange(4), 2, CPU, "dihedral", 0)
