"""How long `orchestrator --help` takes: the median of some runs."""

from __future__ import annotations

import statistics
import subprocess
import sys
from pathlib import Path

from _machine import seconds, show

RUNS = 15
COMMANDS = [["--help"], ["train", "--help"], ["data", "--help"]]


def main() -> None:
    """Measure and print."""
    program = str(Path(sys.executable).with_name("orchestrator"))
    rows = []
    for arguments in COMMANDS:

        def start(arguments: list[str] = arguments) -> None:
            subprocess.run([program, *arguments], check=True, stdout=subprocess.DEVNULL)

        start()  # fills the disk's cache
        times = [seconds(start) for _ in range(RUNS)]
        rows.append([f"`orchestrator {' '.join(arguments)}`", f"{statistics.median(times):.3f}", f"{max(times):.3f}"])
    show(f"Start-up, seconds, {RUNS} runs; held: under 0.4", ["command", "median", "slowest"], rows)


if __name__ == "__main__":
    main()
