"""What processes left in the store that are gone, and putting it right."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from typing import Any

from orchestrator.tracking import records, runs
from orchestrator.tracking.records import Unfinished


def is_dead(process: Mapping[str, Any]) -> bool:
    """Whether a process, by its host and number, was of this machine and is no more, or is this very one."""
    if process.get("host") != platform.node() or "pid" not in process:
        return False
    try:
        os.kill(int(process["pid"]), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return int(process["pid"]) == os.getpid()


def clear() -> None:
    """Mend all that processes of this machine left, as each command does before it begins a run: it may be the same."""
    for each in records.unfinished():
        if is_dead(each.tags):
            mend(each)


def mend(run: Unfinished) -> None:
    """Delete a row, which is recorded anew by whoever goes on with its training; say of another run that it ended."""
    if run.kind == "row":
        runs.delete(run.run_id)
    else:
        runs.end(run.run_id, "KILLED")
