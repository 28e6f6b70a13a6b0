"""How long `orchestrator --help` takes: the median of some runs."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

from _machine import show

RUNS = 15
COMMANDS = [["--help"], ["train", "--help"], ["data", "--help"]]


def seconds(command: list[str]) -> float:
    """Wall time of one run."""
    begin = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


def main() -> None:
    """Measure and print."""
    program = str(Path(sys.executable).with_name("orchestrator"))
    rows = []
    for arguments in COMMANDS:
        seconds([program, *arguments])  # fills the disk's cache
        times = [seconds([program, *arguments]) for _ in range(RUNS)]
        rows.append([f"`orchestrator {' '.join(arguments)}`", f"{statistics.median(times):.3f}", f"{max(times):.3f}"])
    show(f"Start-up, seconds, {RUNS} runs; held: under 0.4", ["command", "median", "slowest"], rows)


if __name__ == "__main__":
    main()
