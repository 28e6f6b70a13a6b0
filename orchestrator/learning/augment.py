"""Augments a batch: another random composition for each image, at the price of one resampling."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from orchestrator.learning.transformations import DIHEDRAL, TRANSFORMATIONS

SHIFT, SMALLEST, SHEAR = 0.10, 0.75, 0.20
"""Limits of the paper: translations in images, scales, shears in pixels a pixel."""


def augment(images: Tensor, generator: torch.Generator, *, transformations: Sequence[str] = TRANSFORMATIONS) -> Tensor:
    """Apply to each image a random number of the transformations, from none to all of them.

    The chosen ones are composed in the order of `TRANSFORMATIONS` to one affine map, with bilinear resampling.
    What comes into view from outside is mirrored: sky that looks like sky, where zeros would draw black wedges.
    Images that only flip and turn keep every pixel value.

    Args:
        images: (n, bands, size, size) float32 on any device.
        generator: of the CPU, so that every device draws the same.
        transformations: those to draw from.

    Returns:
        The same shape, on the same device.

    Source: LEXACTUM section 2.2; one map in place of a chain keeps pixels that would leave and come back.
    """
    count, _, size, _ = images.shape
    if not transformations or not count:
        return images
    chosen = _choose(count, len(transformations), generator)
    maps = torch.eye(3, dtype=torch.float64).expand(count, 3, 3)
    whole = torch.ones(count, dtype=torch.bool)
    for place, name in enumerate(each for each in TRANSFORMATIONS if each in transformations):
        matrices = _matrices(name, count, size, generator)
        here = chosen[:, place, None, None]
        maps = torch.where(here, matrices @ maps, maps)
        if name not in DIHEDRAL:
            whole &= ~chosen[:, place]
    return _move_whole_pixels(_resample(images, maps, ~whole), maps, whole)


def _choose(count: int, available: int, generator: torch.Generator) -> Tensor:
    """(count, available) of which a uniformly random number is true in each row."""
    wanted = torch.randint(0, available + 1, (count, 1), generator=generator)
    order = torch.rand(count, available, generator=generator).argsort(dim=1)
    return order < wanted


def _matrices(name: str, count: int, size: int, generator: torch.Generator) -> Tensor:
    """(count, 3, 3) maps about the image's centre, in pixels, from where a pixel was to where it goes."""
    # Drawn for every name, so that what one image gets does not depend on what others drew.
    a, b = 2 * torch.rand(2, count, generator=generator, dtype=torch.float64) - 1
    zero, one = torch.zeros(count, dtype=torch.float64), torch.ones(count, dtype=torch.float64)
    linear: dict[str, tuple[Tensor, Tensor, Tensor, Tensor]] = {
        "flip_horizontal": (-one, zero, zero, one),
        "flip_vertical": (one, zero, zero, -one),
        "rotate_90": (zero, one, -one, zero),
        "rotate_180": (-one, zero, zero, -one),
        "rotate_270": (zero, -one, one, zero),
        "translate": (one, zero, zero, one),
        "scale": (1 - (1 - SMALLEST) * (a + 1) / 2, zero, zero, 1 - (1 - SMALLEST) * (b + 1) / 2),
        "shear_x": (one, SHEAR * a, zero, one),
        "shear_y": (one, zero, SHEAR * a, one),
    }
    xx, xy, yx, yy = linear[name]
    shift = SHIFT * size if name == "translate" else 0.0
    rows = [xx, xy, shift * a, yx, yy, shift * b, zero, zero, one]
    return torch.stack(rows, dim=1).reshape(count, 3, 3)


def _resample(images: Tensor, maps: Tensor, which: Tensor) -> Tensor:
    from kornia.geometry.transform import warp_affine

    rows = which.nonzero().squeeze(1)
    result = images.clone()
    if not len(rows):
        return result
    size = images.shape[-1]
    middle = torch.eye(3, dtype=torch.float64)
    middle[:2, 2] = (size - 1) / 2
    about_corner = (middle @ maps[rows] @ middle.inverse())[:, :2].to(images)
    rows = rows.to(images.device)
    moved = warp_affine(images[rows], about_corner, (size, size), padding_mode="reflection", align_corners=True)
    result[rows] = moved
    return result


def _move_whole_pixels(images: Tensor, maps: Tensor, which: Tensor) -> Tensor:
    """Flip and turn in place the images whose map is one of the eight symmetries of the square."""
    turned = maps[:, :2, :2].round().long()
    for swap in (False, True):
        for x in (1, -1):
            for y in (1, -1):
                linear = [[0, x], [y, 0]] if swap else [[x, 0], [0, y]]
                same = which & (turned == torch.tensor(linear)).all(dim=(1, 2))
                rows = same.nonzero().squeeze(1).to(images.device)
                if not len(rows) or linear == [[1, 0], [0, 1]]:
                    continue
                source = images[rows].transpose(-1, -2) if swap else images[rows]
                dims = [dim for dim, sign in ((-1, x), (-2, y)) if sign < 0]
                images[rows] = source.flip(dims) if dims else source
    return images
