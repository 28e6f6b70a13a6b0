"""The names of the nine transformations of the paper (section 2.2), in the order they are composed."""

from collections.abc import Sequence

from orchestrator.errors import RecipeError, one_of

TRANSFORMATIONS = (
    "flip_horizontal",
    "flip_vertical",
    "rotate_90",
    "rotate_180",
    "rotate_270",
    "translate",
    "scale",
    "shear_x",
    "shear_y",
)
DIHEDRAL = TRANSFORMATIONS[:5]
"""Those that move whole pixels onto whole pixels."""


def ordered(names: Sequence[str]) -> tuple[str, ...]:
    """Names of transformations in the order they are composed.

    Raises:
        RecipeError: one that is none, or a text where a sequence of names is expected.
    """
    if isinstance(names, str):  # whose letters would be taken for names
        raise RecipeError(f"transformations '{names}': a sequence of names is expected (allowed: {_ALL})")
    for name in names:
        if name not in TRANSFORMATIONS:
            raise RecipeError(one_of("transformation", name, TRANSFORMATIONS))
    return tuple(name for name in TRANSFORMATIONS if name in names)


_ALL = ", ".join(TRANSFORMATIONS)
