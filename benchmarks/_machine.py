"""What benchmarks share: a stopwatch, and a table that says where it was measured."""

from __future__ import annotations

import platform
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def show(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print the title, the machine and a Markdown table; a commit with changes is marked ``+``."""
    import torch

    from orchestrator.learning.devices import describe

    machine = describe(torch.device("cpu"))
    commit = _git("rev-parse", "--short", "HEAD") + (
        "+" if _git("status", "--porcelain", "--untracked-files=no") else ""
    )
    print(
        f"{title}\n{machine['processor']}, {machine['cores']} cores, {machine['memory']}, {machine['system']},", end=" "
    )
    print(f"Python {platform.python_version()}, commit {commit or 'unknown'}\n")
    for row in (header, ["---"] * len(header), *rows):
        print(f"| {' | '.join(row)} |")


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()
