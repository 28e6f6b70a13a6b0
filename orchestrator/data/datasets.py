"""Finds a set by folder or by name; the named ones are simulated on first use and kept."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from orchestrator.data.challenge import GROUND, SPACE, TRAINING_KEY
from orchestrator.errors import DataError

SIMULATED = {"simulated-space": SPACE, "simulated-ground": GROUND}
"""Names; with a number of objects behind it, as in ``simulated-space-500``, the set has its first so many."""

COUNT, SEED = 4000, 1
"""Of a set that is simulated on first use."""

HOME = Path("data")
"""Where simulated and packed sets are kept."""

PACKED = HOME / "packed"


def folder(name: str) -> Path:
    """The folder of a set: of a simulated one by its name, or the folder itself.

    Raises:
        DataError: neither; it lists the names.
    """
    if _simulated(name):
        return HOME / name
    try:
        if Path(name).is_dir():
            return Path(name)
        reason = "no such folder"
    except OSError as error:
        reason = str(error.strerror)
    names = f"{', '.join(SIMULATED)}, these also with a number of objects behind, as in simulated-space-500"
    raise DataError(f"{name}: {reason} (allowed: a folder of cutouts, or {names})")


def make(name: str) -> Iterator[tuple[int, int]]:
    """Simulate a named set unless it is there already; yields objects done and objects in all."""
    found = _simulated(name)
    if found is None or (folder(name) / TRAINING_KEY).is_file():
        return
    from orchestrator.data.simulation import simulate

    kind, count = found
    for done in simulate(folder(name), SIMULATED[kind], count, SEED):
        yield done, count


def _simulated(name: str) -> tuple[str, int] | None:
    """Which of `SIMULATED` a name stands for, and how many objects."""
    found = re.fullmatch(rf"({'|'.join(SIMULATED)})(?:-([1-9][0-9]{{0,8}}))?", name)
    return (found[1], int(found[2] or COUNT)) if found else None
