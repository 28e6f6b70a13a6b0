"""Augmentation against numpy, kornia and scipy; what an image got is read off two bands that hold its coordinates."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import kornia.geometry.transform as kornia
import numpy as np
import pytest
import torch
from scipy.ndimage import affine_transform
from torch import Tensor

from orchestrator.errors import RecipeError
from orchestrator.learning import augment as augmentation
from orchestrator.learning import transformations
from orchestrator.learning.augment import Moves, augment, draw, move
from orchestrator.learning.transformations import DIHEDRAL, TRANSFORMATIONS

NUMPY: dict[str, Callable[[Tensor], Tensor]] = {
    "flip_horizontal": lambda image: image.flip(-1),
    "flip_vertical": lambda image: image.flip(-2),
    "rotate_90": lambda image: image.rot90(1, (-2, -1)),
    "rotate_180": lambda image: image.rot90(2, (-2, -1)),
    "rotate_270": lambda image: image.rot90(3, (-2, -1)),
}

SYMMETRIES: list[Callable[[Tensor], Tensor]] = [
    lambda image, turns=turns, flip=flip: (image.flip(-1) if flip else image).rot90(turns, (-2, -1))
    for turns in range(4)
    for flip in (False, True)
]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(count: int, size: int, bands: int = 1) -> Tensor:
    return torch.randn(count, bands, size, size, generator=generator(99))


def with_coordinates(images: Tensor) -> Tensor:
    """Two more bands: the column and the row of each pixel."""
    size = images.shape[-1]
    column = torch.arange(size, dtype=torch.float32).expand(len(images), 1, size, size)
    return torch.cat([images, column, column.mT], dim=1)


def sources(augmented: Tensor) -> np.ndarray:
    """(n, 2, 3) maps from a place to where its pixel came from, (x, y, 1) to (x, y), fitted in the middle."""
    size = augmented.shape[-1]
    middle = np.arange(size // 2 - 2, size // 2 + 3)
    y, x = (each.ravel() for each in np.meshgrid(middle, middle, indexing="ij"))
    here = np.stack([x, y, np.ones_like(x)], axis=1).astype(np.float64)
    seen = augmented[:, -2:, middle[0] : middle[-1] + 1, middle[0] : middle[-1] + 1].double().numpy()
    return np.stack([np.linalg.lstsq(here, each.reshape(2, -1).T, rcond=None)[0].T for each in seen])


@pytest.mark.parametrize("name", DIHEDRAL)
@pytest.mark.parametrize("size", [8, 9])
def test_a_flip_or_turn_moves_every_pixel_exactly_in_about_half_of_the_images(name: str, size: int) -> None:
    images = noise(64, size, bands=2)
    result = augment(images, generator(), transformations=[name])
    pairs = list(zip(images, result, strict=True))
    done = [torch.equal(after, NUMPY[name](before)) for before, after in pairs]
    kept = [torch.equal(after, before) for before, after in pairs]
    assert all(one != other for one, other in zip(done, kept, strict=True))
    assert 16 < sum(done) < 48


def test_flips_and_turns_occur_as_often_as_a_random_number_of_them_makes_them() -> None:
    image = noise(1, 4)
    looks = [each(image) for each in SYMMETRIES]
    expected = np.zeros(8)
    for number in range(6):  # each as likely, and then each selection of that many
        selections = list(itertools.combinations(DIHEDRAL, number))
        for selection in selections:
            after = image
            for name in selection:
                after = NUMPY[name](after)
            which = next(n for n, look in enumerate(looks) if torch.equal(look, after))
            expected[which] += 1 / 6 / len(selections)
    count = 6000
    result = augment(image.expand(count, -1, -1, -1), generator(), transformations=DIHEDRAL)
    seen = np.array([sum(torch.equal(each[None], look) for each in result) for look in looks])
    assert seen.sum() == count
    assert (np.abs(seen - count * expected) < 4 * np.sqrt(count * expected)).all()


def parameters(maps: np.ndarray, size: int) -> tuple[Tensor, Tensor]:
    """The forward maps, and where they take the middle from the middle."""
    forward = np.linalg.inv(np.concatenate([maps, np.tile([[[0.0, 0, 1]]], (len(maps), 1, 1))], axis=1))
    middle = np.array([(size - 1) / 2, (size - 1) / 2, 1])
    return torch.from_numpy(forward).float(), torch.from_numpy(forward @ middle - middle)[:, :2].float()


@pytest.mark.parametrize("name", ["translate", "scale", "shear_x", "shear_y"])
def test_one_transformation_alone_is_that_of_kornia_within_the_limits_of_the_paper(name: str) -> None:
    size = 31
    images = with_coordinates(noise(200, size))
    result = augment(images, generator(), transformations=[name])
    forward, shift = parameters(sources(result), size)
    unchanged = torch.eye(3).expand(200, 3, 3)
    if name == "translate":
        drawn = shift / size
        expected = kornia.translate(images, shift, padding_mode="reflection")
        limits = (-0.1, 0.1)
        torch.testing.assert_close(forward[:, :2, :2], unchanged[:, :2, :2], atol=1e-4, rtol=0)
    elif name == "scale":
        drawn = forward.diagonal(dim1=1, dim2=2)[:, :2]
        expected = kornia.scale(images, drawn, padding_mode="reflection")
        limits = (0.75, 1.0)
    else:
        along = ("shear_x", "shear_y").index(name)
        drawn = forward[:, along, 1 - along, None]
        about_middle = torch.eye(3)[:2].repeat(200, 1, 1)
        about_middle[:, along, 1 - along] = drawn[:, 0]
        about_middle[:, along, 2] = -drawn[:, 0] * (size - 1) / 2
        expected = kornia.warp_affine(images, about_middle, (size, size), padding_mode="reflection")
        limits = (-0.2, 0.2)
    torch.testing.assert_close(result, expected, atol=2e-3, rtol=0)
    changed = drawn[(result != images).flatten(1).any(dim=1)]
    low, high = limits
    assert 70 < len(changed) < 130
    assert low - 1e-5 < changed.min() < low + 0.05 * (high - low)
    assert high - 0.05 * (high - low) < changed.max() < high + 1e-5
    if changed.shape[1] == 2:  # along both axes, and by different amounts
        assert abs(np.corrcoef(changed.T.numpy())[0, 1]) < 0.4


def test_flips_and_turns_before_a_translation_are_the_chain_of_kornia() -> None:
    size = 31
    images = with_coordinates(noise(100, size))
    result = augment(images, generator(), transformations=[*DIHEDRAL, "translate"])
    _, shift = parameters(sources(result), size)
    for before, after, by in zip(images, result, shift, strict=True):
        chains = [kornia.translate(each(before)[None], by[None], padding_mode="reflection") for each in SYMMETRIES]
        assert min((after - chain[0])[:1].abs().max() for chain in chains) < 1e-3


def test_all_nine_together_resample_once_with_the_border_mirrored() -> None:
    size = 31
    images = with_coordinates(noise(60, size, bands=2))
    result = augment(images, generator()).double().numpy()
    maps = sources(torch.from_numpy(result))
    for before, after, ((xx, xy, x), (yx, yy, y)) in zip(images.double().numpy(), result, maps, strict=True):
        for band in (0, 1):
            expected = affine_transform(before[band], [[yy, yx], [xy, xx]], [y, x], order=1, mode="mirror")
            np.testing.assert_allclose(after[band], expected, atol=2e-3)
    assert len({each.tobytes() for each in maps.round(6)}) > 50


def one_by_one(images: Tensor, names: Sequence[str], strength: float, random: torch.Generator) -> Tensor:
    """The same augmentation as plainly as can be: an image after the other, matrices, and kornia's own warping."""
    count, size = len(images), images.shape[-1]
    wanted = torch.randint(0, len(names) + 1, (count, 1), generator=random)
    chosen = torch.rand(count, len(names), generator=random).argsort(dim=1) < wanted
    amounts = [2 * torch.rand(count, 2, generator=random, dtype=torch.float64) - 1 for _ in names]
    centre = torch.eye(3, dtype=torch.float64)
    centre[:2, 2] = (size - 1) / 2
    results = []
    for number, image in enumerate(images):
        done = [name for name, here in zip(names, chosen[number], strict=True) if here]
        for name in done:
            image = NUMPY[name](image) if name in NUMPY else image
        if set(done) - set(DIHEDRAL):
            whole = torch.eye(3, dtype=torch.float64)
            for name in done:
                u, v = amounts[names.index(name)][number].tolist()
                whole = torch.tensor(matrix(name, u, v, size, strength), dtype=torch.float64) @ whole
            about_corner = (centre @ whole @ centre.inverse())[None, :2].float()
            image = kornia.warp_affine(images[number, None], about_corner, (size, size), padding_mode="reflection")[0]
        results.append(image)
    return torch.stack(results)


def matrix(name: str, u: float, v: float, size: int, strength: float) -> list[list[float]]:
    smaller = strength * 0.25
    return {
        "flip_horizontal": [[-1, 0, 0], [0, 1, 0], [0, 0, 1]],
        "flip_vertical": [[1, 0, 0], [0, -1, 0], [0, 0, 1]],
        "rotate_90": [[0, 1, 0], [-1, 0, 0], [0, 0, 1]],
        "rotate_180": [[-1, 0, 0], [0, -1, 0], [0, 0, 1]],
        "rotate_270": [[0, -1, 0], [1, 0, 0], [0, 0, 1]],
        "translate": [[1, 0, strength * 0.1 * size * u], [0, 1, strength * 0.1 * size * v], [0, 0, 1]],
        "scale": [[1 - smaller * (1 + u) / 2, 0, 0], [0, 1 - smaller * (1 + v) / 2, 0], [0, 0, 1]],
        "shear_x": [[1, strength * 0.2 * u, 0], [0, 1, 0], [0, 0, 1]],
        "shear_y": [[1, 0, 0], [strength * 0.2 * v, 1, 0], [0, 0, 1]],
    }[name]


@pytest.mark.parametrize("names", [TRANSFORMATIONS, DIHEDRAL, ("rotate_90", "scale", "shear_y")])
@pytest.mark.parametrize("strength", [1.0, 1.7])
def test_batches_drawn_ahead_are_to_the_bit_what_each_image_gets_from_kornia_alone(
    names: tuple[str, ...], strength: float
) -> None:
    images, counts = noise(75, 21, bands=2), [32, 32, 11]
    random = generator(3)
    expected = [one_by_one(batch, names, strength, random) for batch in images.split(counts)]
    moves = [each.split(counts) for each in draw(counts, 21, generator(3), names, strength)]
    for batch, looks, *how in zip(images.split(counts), expected, *moves, strict=True):
        assert torch.equal(move(batch, Moves(*how)), looks)
        assert torch.equal(move(batch, Moves(*how), apart=False), looks)


def test_no_dark_wedge_comes_into_view() -> None:
    torch.testing.assert_close(augment(torch.ones(200, 1, 21, 21), generator()), torch.ones(200, 1, 21, 21))


def test_the_seed_decides_and_the_global_random_states_stay_as_they_are() -> None:
    images = noise(32, 21)
    states = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002 - the global one is what matters
    first = augment(images, generator(5))
    assert torch.equal(first, augment(images, generator(5)))
    assert not torch.equal(first, augment(images, generator(6)))
    assert torch.equal(states[0], torch.get_rng_state())
    assert (states[1] == np.random.get_state()[1]).all()  # noqa: NPY002


def test_the_order_of_the_names_does_not_matter() -> None:
    images = noise(32, 21)
    assert torch.equal(
        augment(images, generator()), augment(images, generator(), transformations=TRANSFORMATIONS[::-1])
    )


def test_the_images_given_stay_as_they_are() -> None:
    images = noise(32, 21)
    before = images.clone()
    augment(images, generator())
    assert torch.equal(images, before)


@pytest.mark.parametrize("count", [0, 1])
def test_any_number_of_images_will_do(count: int) -> None:
    assert augment(noise(count, 21), generator()).shape == (count, 1, 21, 21)


def test_without_transformations_nothing_changes() -> None:
    images = noise(8, 21)
    assert torch.equal(augment(images, generator(), transformations=()), images)


@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_every_transformation_changes_images(name: str) -> None:
    images = noise(16, 21)
    changed = (augment(images, generator(), transformations=[name]) != images).flatten(1).any(dim=1)
    assert 0 < changed.sum() < 16


def test_a_name_without_a_map_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transformations, "TRANSFORMATIONS", (*TRANSFORMATIONS, "blur"))
    with pytest.raises(NotImplementedError, match="'blur' has a name and no map"):
        augmentation.augment(noise(4, 9), generator(), transformations=["blur"])


@pytest.mark.parametrize(
    ("given", "told"), [("dihedral", "a sequence of names is expected"), (["rotate_9"], "no transformation 'rotate_9'")]
)
def test_what_names_no_transformation_is_refused(given: str | list[str], told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        augment(noise(4, 9), generator(), transformations=given)
