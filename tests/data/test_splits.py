from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from orchestrator.data.splits import Split, shares, split
from orchestrator.errors import RecipeError

SCHEMES = {
    "0.7/0.1/0.2": (0.7, 0.1, 0.2),
    "0.2/0.3/0.5": (0.2, 0.3, 0.5),
    "lexactum": (0.19, 0.01, 0.80),
    "official": (0.875, 0.125, 0),
}

WRONG = ["", "lexactun", "a/b/c", "0.7/0.3", "0.7/0.1/0.1/0.1", "0.7/0.1/0.3", "0.7,0.1,0.2"]
WRONG += ["0.8/0/0.2", "1.2/-0.4/0.2", "nan/0.5/0.5", "inf/0.1/0.2"]

Labels = NDArray[np.int8]

some_labels = arrays(np.int8, st.integers(0, 400), elements=st.integers(-1, 1))


def parts(cut: Split) -> tuple[NDArray[np.int64], ...]:
    return cut.train, cut.validation, cut.test


@pytest.mark.parametrize("scheme", SCHEMES)
@given(labels=some_labels, seed=st.integers(0, 2**32))
@pytest.mark.slow
def test_every_labelled_row_is_in_one_part_and_no_other_row_in_any(scheme: str, labels: Labels, seed: int) -> None:
    rows = np.concatenate(parts(split(labels, scheme, seed)))
    np.testing.assert_array_equal(np.sort(rows), np.flatnonzero(labels >= 0))
    for part in parts(split(labels, scheme, seed)):
        assert part.dtype == np.int64
        assert (np.diff(part) > 0).all()


@pytest.mark.parametrize(("scheme", "wanted"), SCHEMES.items())
@given(labels=some_labels, seed=st.integers(0, 2**32))
def test_each_class_is_shared_out_alone_within_one_object(
    scheme: str, wanted: tuple[float, ...], labels: Labels, seed: int
) -> None:
    for label in (0, 1):
        total = int((labels == label).sum())
        counts = [int((labels[part] == label).sum()) for part in parts(split(labels, scheme, seed))]
        if total >= 3:
            assert all(count > 0 for count, share in zip(counts, wanted, strict=True) if share > 0)
        for count, share in zip(counts, wanted, strict=True):
            # A part with less than one of its own may have taken one of the largest part.
            assert abs(count - share * total) < 2.01
            assert share > 0 or count == 0


def test_shares_are_exact_where_they_can_be() -> None:
    labels = np.repeat(np.array([0, 1], np.int8), [3000, 2000])
    for scheme, wanted in SCHEMES.items():
        for part, share in zip(parts(split(labels, scheme, 1)), wanted, strict=True):
            assert np.bincount(labels[part], minlength=2).tolist() == [round(3000 * share), round(2000 * share)]


def test_a_seed_gives_the_same_split_and_another_seed_another() -> None:
    labels = np.random.default_rng(0).integers(0, 2, 200).astype(np.int8)
    first, again, other = (split(labels, "0.7/0.1/0.2", seed) for seed in (1, 1, 2))
    for one, same in zip(parts(first), parts(again), strict=True):
        np.testing.assert_array_equal(one, same)
    assert first.test.tolist() != other.test.tolist()


def test_the_draw_favours_no_row() -> None:
    labels = np.tile(np.array([0, 1], np.int8), 20)
    tested = np.zeros(40)
    for seed in range(400):
        tested[split(labels, "0.7/0.1/0.2", seed).test] += 1
    # Binomial with mean 80 and standard deviation 8.
    assert tested.min() > 80 - 5 * 8
    assert tested.max() < 80 + 5 * 8
    assert tested.std() > 4


def test_global_random_state_is_left_alone() -> None:
    labels = np.tile(np.array([0, 1], np.int8), 20)
    before = np.random.get_state()[1].copy()  # noqa: NPY002 - the state that must not move
    split(labels, "lexactum", 3)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


@pytest.mark.parametrize("scheme", WRONG)
def test_another_scheme_is_refused_with_those_that_are_allowed(scheme: str) -> None:
    with pytest.raises(RecipeError, match=f"split '{scheme}': allowed are 'lexactum', 'official', or three shares"):
        shares(scheme)
