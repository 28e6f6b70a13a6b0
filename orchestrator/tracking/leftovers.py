"""What processes left in the store that are gone, and putting it right."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from typing import Any

from orchestrator.tracking import records, runs, store
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


def connect(uri: str | None = None) -> str:
    """Connect to a store to record in it, see `store.connect`: first all is mended that processes of this machine left.

    What the command is about to record may be what one of them began.
    """
    connected = store.connect(uri)
    for each in records.unfinished():
        if is_dead(each.tags):
            mend(each)
    return connected


def mend(run: Unfinished) -> None:
    """Delete a row, which is recorded anew by whoever goes on with its training; say of another run that it ended."""
    if run.kind == "row":
        runs.delete(run.run_id)
    else:
        runs.end(run.run_id, "KILLED")
