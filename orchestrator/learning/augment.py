"""Augments a batch: another random composition for each image, at the price of one resampling."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from orchestrator.learning.transformations import DIHEDRAL, TRANSFORMATIONS, ordered

SHIFT, SMALLEST, SHEAR = 0.10, 0.75, 0.20
"""Limits of the paper: translations in images, scales, shears in pixels a pixel."""


def augment(
    images: Tensor,
    generator: torch.Generator,
    *,
    transformations: Sequence[str] = TRANSFORMATIONS,
    strength: float = 1.0,
) -> Tensor:
    """Apply to each image a random number of the transformations, from none to all of them.

    The chosen ones are composed in the order of `TRANSFORMATIONS` to one affine map about the centre, with bilinear
    resampling. What comes into view from outside is mirrored: sky that looks like sky, where zeros would draw black
    wedges. Images that only flip and turn keep every pixel value.

    Args:
        images: (n, bands, size, size) float32 on any device.
        generator: of the CPU, so that every device draws the same.
        transformations: those to draw from, in any order.
        strength: by which the limits of shift, shear and scale are multiplied.

    Returns:
        The same shape, on the same device.

    Raises:
        RecipeError: a name of no transformation, or a text in place of names.

    Source: LEXACTUM section 2.2; one map in place of a chain keeps pixels that would leave and come back.
    """
    count, size = len(images), images.shape[-1]
    names = ordered(transformations)
    if not names or not count:
        return images
    chosen = _choose(count, len(names), generator)
    maps = torch.eye(3, dtype=torch.float64).expand(count, 3, 3)
    for name, here in zip(names, chosen.T, strict=True):
        maps = torch.where(here[:, None, None], _matrices(name, count, size, generator, strength) @ maps, maps)
    whole = ~chosen[:, [name not in DIHEDRAL for name in names]].any(dim=1)
    result = torch.empty_like(images)
    for rows, moved in itertools.chain(_move_whole_pixels(images, maps, whole), _resample(images, maps, ~whole)):
        result.index_copy_(0, rows, moved)
    return result


def _choose(count: int, available: int, generator: torch.Generator) -> Tensor:
    """(count, available) of which a uniformly random number is true in each row."""
    wanted = torch.randint(0, available + 1, (count, 1), generator=generator)
    order = torch.rand(count, available, generator=generator).argsort(dim=1)
    return order < wanted


def _matrices(name: str, count: int, size: int, generator: torch.Generator, strength: float) -> Tensor:
    """(count, 3, 3) maps about the image's centre, in pixels, from where a pixel was to where it goes."""
    # Drawn whether or not an image uses it, so that what one gets does not depend on what others drew.
    drawn = 2 * torch.rand(count, 2, generator=generator, dtype=torch.float64) - 1
    maps = torch.eye(3, dtype=torch.float64).repeat(count, 1, 1)
    match name:
        case "flip_horizontal":
            maps[:, 0, 0] = -1
        case "flip_vertical":
            maps[:, 1, 1] = -1
        case "rotate_90":
            maps[:, :2, :2] = torch.tensor([[0, 1], [-1, 0]])
        case "rotate_180":
            maps[:, :2, :2] = torch.tensor([[-1, 0], [0, -1]])
        case "rotate_270":
            maps[:, :2, :2] = torch.tensor([[0, -1], [1, 0]])
        case "translate":
            maps[:, :2, 2] = strength * SHIFT * size * drawn
        case "scale":
            maps[:, (0, 1), (0, 1)] = 1 - strength * (1 - SMALLEST) * (1 + drawn) / 2
        case "shear_x":
            maps[:, 0, 1] = strength * SHEAR * drawn[:, 0]
        case "shear_y":
            maps[:, 1, 0] = strength * SHEAR * drawn[:, 1]
        case _:
            raise NotImplementedError(f"transformation '{name}' has a name and no map")
    return maps


def _move_whole_pixels(images: Tensor, maps: Tensor, which: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Flip and turn the images whose map is one of the eight symmetries of the square, one symmetry at a time."""
    linear = maps[:, :2, :2]
    for symmetry in torch.unique(linear[which], dim=0):
        rows = _rows(which & (linear == symmetry).all(dim=2).all(dim=1), images)
        turned = images.index_select(0, rows)
        if symmetry[0, 1]:
            turned = turned.mT
        yield rows, turned.flip([dim for dim, sign in zip((-1, -2), symmetry.sum(dim=1), strict=True) if sign < 0])


def _resample(images: Tensor, maps: Tensor, which: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    if not which.any():
        return
    from kornia.geometry.transform import warp_affine

    rows, size = _rows(which, images), images.shape[-1]
    to_centre = torch.eye(3, dtype=torch.float64)
    to_centre[:2, 2] = (size - 1) / 2
    about_corner = (to_centre @ maps[which] @ to_centre.inverse())[:, :2].to(images)
    turned = images.index_select(0, rows)
    yield rows, warp_affine(turned, about_corner, (size, size), padding_mode="reflection", align_corners=True)


def _rows(which: Tensor, images: Tensor) -> Tensor:
    return which.nonzero().squeeze(1).to(images.device)
