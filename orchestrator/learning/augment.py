"""Augments batches: another random composition for each image, at the price of one resampling.

What happens to each image is drawn and composed on the host, for many batches at once; `move` then does it on the
device, where nothing has to be waited for.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from orchestrator.learning.transformations import DIHEDRAL, TRANSFORMATIONS, ordered

SHIFT, SMALLEST, SHEAR = 0.10, 0.75, 0.20
"""Limits of the paper: translations in images, scales, shears in pixels a pixel."""

RESAMPLED = 8
"""In place of one of the eight symmetries of the square: the image needs more than one of them."""


class Moves(NamedTuple):
    """How each of n images is moved; a slice of both is how those images are.

    Attributes:
        symmetry: (n,) int64, the symmetry of the square that the image's map is, a row of `_sources`; or `RESAMPLED`.
        inverse: (n, 2, 3) float32 maps from where a pixel goes to where it comes from, in the coordinates of
            `grid_sample`, whose corner pixels are at -1 and 1.
    """

    symmetry: Tensor
    inverse: Tensor


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
    if not ordered(transformations) or not len(images):
        return images
    moves = draw([len(images)], images.shape[-1], generator, transformations, strength)
    return move(images, Moves(*(each.to(images.device) for each in moves)))


def draw(
    counts: Sequence[int], size: int, generator: torch.Generator, transformations: Sequence[str], strength: float
) -> Moves:
    """Draw how the images of some batches are moved, one batch after the other, and compose it for all of them.

    Args:
        counts: images of each batch.
        size: of the images, in pixels.
        generator: of the CPU.
        transformations: those to draw from, one or more, in any order.
        strength: by which the limits of shift, shear and scale are multiplied.

    Returns:
        Of all images of the batches, on the CPU.

    Raises:
        RecipeError: a name of no transformation, or a text in place of names.
    """
    names = ordered(transformations)
    # Amounts are drawn whether or not an image uses them, so that what one gets does not depend on what others drew.
    draws = [
        (
            torch.randint(0, len(names) + 1, (count, 1), generator=generator),
            torch.rand(count, len(names), generator=generator),
            torch.rand(len(names), count, 2, generator=generator, dtype=torch.float64),
        )
        for count in counts
    ]
    wanted, places, amounts = (
        torch.cat(each, dim) for each, dim in zip(zip(*draws, strict=True), (0, 0, 1), strict=True)
    )
    chosen = places.argsort(dim=1) < wanted
    x, y = _compose(names, chosen, 2 * amounts - 1, size, strength)
    whole = ~chosen[:, [name not in DIHEDRAL for name in names]].any(dim=1)
    return Moves(torch.where(whole, _symmetry(x, y), RESAMPLED), _inverse(x, y, size))


def _compose(
    names: Sequence[str], chosen: Tensor, amounts: Tensor, size: int, strength: float
) -> tuple[Tensor, Tensor]:
    """The rows x and y, each (n, 3) float64, of maps about the centre, in pixels: from where one was to where it goes.

    Args:
        names: of transformations, in the order they are composed.
        chosen: (n, names) which of them an image gets.
        amounts: (names, n, 2) from -1 to 1.
        size: of the images, in pixels.
        strength: by which the limits are multiplied.
    """
    x, y = torch.eye(3, dtype=torch.float64)[:2, None].expand(2, len(chosen), 3)
    for name, here, drawn in zip(names, chosen.T[:, :, None], amounts, strict=True):
        first, second = drawn[:, :1], drawn[:, 1:]
        match name:
            case "flip_horizontal":
                to = -x, y
            case "flip_vertical":
                to = x, -y
            case "rotate_90":
                to = y, -x
            case "rotate_180":
                to = -x, -y
            case "rotate_270":
                to = -y, x
            case "translate":
                along = strength * SHIFT * size * torch.tensor([0, 0, 1], dtype=torch.float64)
                to = x + along * first, y + along * second
            case "scale":
                smaller = strength * (1 - SMALLEST)
                to = x * (1 - smaller * (1 + first) / 2), y * (1 - smaller * (1 + second) / 2)
            case "shear_x":
                to = x + strength * SHEAR * first * y, y
            case "shear_y":
                to = x, y + strength * SHEAR * second * x
            case _:
                raise NotImplementedError(f"transformation '{name}' has a name and no map")
        x, y = torch.where(here, to[0], x), torch.where(here, to[1], y)
    return x, y


def _symmetry(x: Tensor, y: Tensor) -> Tensor:
    """The row of `_sources` for maps that are a symmetry of the square; of others it means nothing."""
    return 4 * (x[:, 0] == 0).long() + 2 * (x[:, :2].sum(dim=1) < 0) + (y[:, :2].sum(dim=1) < 0)


def _inverse(x: Tensor, y: Tensor, size: int) -> Tensor:
    """From a map's rows to `Moves.inverse`, as kornia's `warp_affine` makes it of the map about the corner."""
    from kornia.geometry.conversions import normalize_homography

    centre = (size - 1) / 2
    maps = torch.eye(3, dtype=torch.float64).repeat(len(x), 1, 1)
    for row, own in ((0, x), (1, y)):
        maps[:, row, :2] = own[:, :2]
        maps[:, row, 2] = (-centre * own[:, 0] - centre * own[:, 1]) + (own[:, 2] + centre)
    a, b, c = normalize_homography(maps.float(), (size, size), (size, size)).unbind(dim=2)
    cofactors = torch.stack([torch.linalg.cross(b, c), torch.linalg.cross(c, a)], dim=1)
    return cofactors / (a * cofactors[:, 0]).sum(dim=1)[:, None, None]


def move(images: Tensor, moves: Moves, *, apart: bool | None = None) -> Tensor:
    """Move images, (n, bands, size, size), as it was drawn for them; all on one device.

    Args:
        images: stay as they are.
        moves: of as many images.
        apart: do each image's own work alone, as is fastest on a CPU and the choice there; where what is to be done
            depends on values, other devices would make the host wait, and do both for all images. It is the same to
            the bit.
    """
    if images.device.type != "cpu" if apart is None else not apart:
        whole = (moves.symmetry < RESAMPLED)[:, None, None, None]
        return torch.where(whole, _turn(images, moves.symmetry), _resample(images, moves.inverse))
    result = torch.empty_like(images)
    for rows, done, how in (
        ((moves.symmetry < RESAMPLED).nonzero().squeeze(1), _turn, moves.symmetry),
        ((moves.symmetry == RESAMPLED).nonzero().squeeze(1), _resample, moves.inverse),
    ):
        result.index_copy_(0, rows, done(images.index_select(0, rows), how.index_select(0, rows)))
    return result


def _turn(images: Tensor, symmetry: Tensor) -> Tensor:
    """Move whole pixels onto whole pixels."""
    sources = _sources(images.shape[-1], images.device).index_select(0, symmetry)
    return images.flatten(2).gather(2, sources[:, None].expand(-1, images.shape[1], -1)).view_as(images)


@lru_cache(maxsize=4)
def _sources(size: int, device: torch.device) -> Tensor:
    """(9, size²) which pixel comes where, under each symmetry of the square; in the last row, which is none, any."""
    pixels = torch.arange(size * size).view(size, size)
    flips = [[dim for dim, done in ((1, symmetry & 2), (0, symmetry & 1)) if done] for symmetry in range(8)]
    turned = [(pixels.T if symmetry & 4 else pixels).flip(dims) for symmetry, dims in enumerate(flips)]
    return torch.stack([*turned, pixels]).flatten(1).to(device)


def _resample(images: Tensor, inverse: Tensor) -> Tensor:
    """What kornia's `warp_affine` does once it has the inverse, with fewer passes over the grid."""
    size = images.shape[-1]
    along = torch.linspace(-1, 1, size, device=images.device)
    across, down, shift = inverse[:, :, :, None, None].unbind(dim=2)
    grid = (across * along + down * along[:, None]).add_(shift)
    return grid_sample(images, grid.permute(0, 2, 3, 1), padding_mode="reflection", align_corners=True)
