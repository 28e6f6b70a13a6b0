"""What benchmarks share: a stopwatch, and a table that says where it was measured."""

from __future__ import annotations

import itertools
import platform
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

ROOT = Path(__file__).parents[1]


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def show(title: str, header: Sequence[str], rows: Iterable[Sequence[str]], device: torch.device | None = None) -> None:
    """Print the title, the machine and a Markdown table, row by row; a commit with changes is marked ``+``."""
    import torch

    from orchestrator.learning.devices import describe

    machine = describe(device or torch.device("cpu"))
    gpu = f"{machine['device']}, " if device and device.type != "cpu" else ""
    commit = _git("rev-parse", "--short", "HEAD") + (
        "+" if _git("status", "--porcelain", "--untracked-files=no") else ""
    )
    print(
        f"{title}\n{gpu}{machine['processor']}, {machine['cores']} cores, {machine['memory']}, {machine['system']},",
        end=" ",
    )
    print(f"Python {platform.python_version()}, torch {torch.__version__}, commit {commit or 'unknown'}\n")
    for row in itertools.chain((header, ["---"] * len(header)), rows):
        print(f"| {' | '.join(row)} |", flush=True)


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()
