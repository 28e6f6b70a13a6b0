"""Finds a set by folder or by name; the named ones are simulated on first use and kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from orchestrator.data.challenge import GROUND, SPACE, TRAINING_KEY
from orchestrator.errors import DataError

SIMULATED = {"simulated-space": SPACE, "simulated-ground": GROUND}
COUNT, SEED = 4000, 1
"""Of a set that is simulated on first use."""

HOME = Path("data")
"""Where simulated and packed sets are kept."""

PACKED = HOME / "packed"


def folder(name: str) -> Path:
    """The folder of a set: of a name of `SIMULATED`, or the folder itself.

    Raises:
        DataError: neither; it lists the names.
    """
    if name in SIMULATED:
        return HOME / name
    try:
        if Path(name).is_dir():
            return Path(name)
        reason = "no such folder"
    except OSError as error:
        reason = str(error.strerror)
    raise DataError(f"{name}: {reason} (allowed: a folder of cutouts, or {', '.join(SIMULATED)})")


def make(name: str) -> Iterator[tuple[int, int]]:
    """Simulate a named set unless it is there already; yields objects done and objects in all."""
    if name not in SIMULATED or (folder(name) / TRAINING_KEY).is_file():
        return
    from orchestrator.data.simulation import simulate

    for done in simulate(folder(name), SIMULATED[name], COUNT, SEED):
        yield done, COUNT
