"""How long commands take to start: the median of some runs, and the CPU time of all threads."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from _machine import ROOT, seconds, show

import architectures
from orchestrator.data.challenge import SPACE
from orchestrator.data.simulation import simulate
from orchestrator.learning.finder import Finder
from orchestrator.tracking import models, runs, store

RUNS = 7
PROGRAM = [sys.executable, "-m", "orchestrator"]
COMMANDS = [["--help"], ["train", "--help"], ["data", "--help"]]


def recorded(folder: Path) -> str:
    """A model in a store, and 40 cutouts to score."""
    store.connect(f"sqlite:///{folder}/mlflow.db")
    run_id = runs.begin(store.experiment("made"), "trial", "made")
    torch.manual_seed(0)
    models.log(run_id, Finder(architectures.create("lens_flow", bands=1), "zscale"), SPACE, {})
    for _ in simulate(folder / "space", SPACE, 40, 1):
        pass
    return f"runs:/{run_id}/model"


def main() -> None:
    """Measure and print."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        score = ["score", "--model", recorded(Path(folder)), "--data", "space", "--out", "s.parquet", "--overwrite"]
        measured = {f"`orchestrator {' '.join(each)}`": [*PROGRAM, *each] for each in COMMANDS}
        measured["`orchestrator score` of 40 cutouts, all of it"] = [*PROGRAM, *score, "--device", "cpu"]
        measured["of that, `import torch`"] = [sys.executable, "-c", "import torch"]
        for what, command in measured.items():

            def start(command: list[str] = command) -> None:
                environment = {**os.environ, "PYTHONPATH": str(ROOT)}
                subprocess.run(command, check=True, capture_output=True, cwd=folder, env=environment)

            start()  # fills the disk's cache
            before = os.times()
            times = [seconds(start) for _ in range(RUNS)]
            after = os.times()
            used = after.children_user + after.children_system - before.children_user - before.children_system
            rows.append([what, f"{statistics.median(times):.2f}", f"{max(times):.2f}", f"{used / RUNS:.2f}"])
    show(
        f"Start-up, seconds, {RUNS} runs; held: help under 0.4, a scoring under 2",
        ["command", "median", "slowest", "CPU time, mean"],
        rows,
    )


if __name__ == "__main__":
    main()
