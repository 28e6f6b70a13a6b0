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
from torch.utils._python_dispatch import TorchDispatchMode

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
    images, labels = zip(*made.epoch(epoch), strict=True)
    numbers = torch.cat(images).flatten().long()
    assert sorted(numbers.tolist()) == made.rows.tolist()
    assert (torch.cat(labels) == numbers % 2).all()
    assert len(labels) == len(made)
    sizes = [len(each) for each in labels]
    assert all(size == batch_size for size in sizes[:-1])
    assert 2 <= sizes[-1] <= batch_size + 1  # batch norm cannot do with one


def test_images_and_labels_are_float32() -> None:
    images, labels = next(iter(batches().epoch(1)))
    assert (images.dtype, labels.dtype) == (torch.float32, torch.float32)
    assert (images.shape, labels.shape) == ((6, 1, 8, 8), (6,))


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
    for (images, labels), (after, same_labels) in zip(plain, augmented, strict=True):
        assert torch.equal(labels, same_labels)
        torch.testing.assert_close(images, after)  # each image has one value, whatever is done to it


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


class Calls(TorchDispatchMode):
    """The names of the operations that torch is asked for, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("room", ROOM.values(), ids=ROOM)
def test_the_augmentation_is_drawn_before_the_first_batch_and_an_image_resampled_once(room: int) -> None:
    made = batches(augment=TRANSFORMATIONS, room=room)
    with Calls() as calls:
        for batch in made.epoch(1):
            before = len(calls.names)
            images, _ = batch
            assert calls.names[before:].count("grid_sampler_2d") <= 1
            assert torch.isfinite(images).all()
    drawn = [n for n, name in enumerate(calls.names) if name in ("rand", "randint", "uniform_", "random_")]
    assert drawn
    assert max(drawn) < calls.names.index("grid_sampler_2d")


@pytest.mark.parametrize("room", ROOM.values(), ids=ROOM)
def test_no_step_of_a_batch_on_a_device_asks_for_a_value(room: int) -> None:
    made = batches(augment=TRANSFORMATIONS, room=room, device=torch.device("meta"))  # which has no values
    for batch in made.epoch(1):
        with Calls() as calls:
            images, labels = batch
        assert calls.names.count("grid_sampler_2d") == 1
        assert (images.shape[1:], len(labels)) == ((1, 8, 8), len(images))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("room", ROOM.values(), ids=ROOM)
def test_cuda_gives_the_batches_of_the_cpu_without_being_waited_for(room: int) -> None:
    device = torch.device("cuda")
    pixels, chosen = np.random.default_rng(0).normal(size=(40, 1, 33, 33)).astype(np.float32), np.arange(40)
    made, expected = (
        Batches(pixels, np.zeros(40, np.int8), chosen, 6, where, TRANSFORMATIONS, seed=1, room=room)
        for where in (device, CPU)
    )
    list(made.epoch(1))  # fills what is kept
    torch.cuda.set_sync_debug_mode("error")
    try:
        seen = [tuple(batch) for batch in made.epoch(2)]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for (images, labels), (others, same_labels) in zip(seen, expected.epoch(2), strict=True):
        torch.testing.assert_close(images.cpu(), others, atol=1e-4, rtol=0)
        assert torch.equal(labels.cpu(), same_labels)


@pytest.mark.parametrize("missing", [0, 1])
def test_pixels_are_kept_on_the_device_where_all_that_is_trained_on_fits(missing: int) -> None:
    needed = 20 * 8 * 8 * 4  # of the chosen rows alone
    made = batches(room=needed - missing)
    list(made.epoch(1))
    made.pixels[:] = -1  # what was kept does not notice
    seen = torch.cat([images for images, _ in made.epoch(2)])
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
