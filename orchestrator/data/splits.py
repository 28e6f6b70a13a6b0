"""Cuts a set into training, validation and test: seeded, and with the same share of lenses in each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import RecipeError

Rows = NDArray[np.int64]

OFFICIAL = "official"
"""Train on one folder and test on the other, as the challenge means it."""

LEXACTUM = (0.19, 0.01, 0.80)
"""How the paper cuts the test release."""

OFFICIAL_VALIDATION = 0.125
"""The share of the training folder that `official` keeps for validation, as 0.7/0.1 does."""


@dataclass(frozen=True)
class Split:
    """Row numbers of each part, ascending; a row without a label is in none."""

    train: Rows
    validation: Rows
    test: Rows


def shares(scheme: str) -> tuple[float, float, float]:
    """Read a scheme: ``lexactum``, ``official`` or three written shares such as ``0.7/0.1/0.2``.

    Raises:
        RecipeError: anything else.
    """
    if scheme == "lexactum":
        return LEXACTUM
    if scheme == OFFICIAL:
        return 1 - OFFICIAL_VALIDATION, OFFICIAL_VALIDATION, 0.0
    try:
        train, validation, test = (float(share) for share in scheme.split("/"))
    except ValueError:
        train = validation = test = 0.0
    if not (min(train, validation, test) > 0 and abs(train + validation + test - 1) < 1e-6):
        raise RecipeError(
            f"split '{scheme}': allowed are 'lexactum', 'official', or three shares above 0"
            " that add up to 1, such as 0.7/0.1/0.2"
        )
    return train, validation, test


def split(labels: NDArray[np.int8], scheme: str, seed: int) -> Split:
    """Draw the parts, class by class.

    Each part gets an object of each class where there are enough. The draw depends on the order of the rows,
    which the data path keeps sorted by identifier.

    Args:
        labels: (n,) 1 a lens, 0 none, -1 unknown.
        scheme: see `shares`.
        seed: of the draw.
    """
    parts: tuple[list[Rows], list[Rows], list[Rows]] = ([], [], [])
    for label in (0, 1):
        rows = np.flatnonzero(labels == label)
        shuffled = np.random.default_rng([seed, label]).permutation(rows)
        counts = _counts(len(rows), shares(scheme))
        for part, chosen in zip(parts, np.split(shuffled, np.cumsum(counts)[:-1]), strict=True):
            part.append(chosen)
    return Split(*(np.sort(np.concatenate(part)) for part in parts))


def _counts(total: int, wanted: tuple[float, ...]) -> list[int]:
    """Largest remainder; then a part that wants some and got none takes one of the largest part."""
    exact = [share * total for share in wanted]
    counts = [int(each) for each in exact]
    by_remainder = sorted(range(len(wanted)), key=lambda part: counts[part] - exact[part])
    for part in by_remainder[: total - sum(counts)]:
        counts[part] += 1
    for part in (0, 2, 1):
        largest = max(range(len(counts)), key=counts.__getitem__)
        if wanted[part] > 0 and counts[part] == 0 and counts[largest] > 1:
            counts[part] += 1
            counts[largest] -= 1
    return counts
