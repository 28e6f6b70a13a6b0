"""How long a table of epoch counts takes by one training that passes them all, and by a training for each count."""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import torch
from _machine import seconds, show
from _sets import packed

from orchestrator.learning.recipe import PAPER_EPOCHS, recipe
from orchestrator.studies import trial
from orchestrator.studies.bench import Bench
from orchestrator.tracking import store


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", default="lens_flow")
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--share", type=int, default=5, help="the paper's epoch counts are divided by it")
    asked = parser.parse_args()
    counts = sorted({max(1, count // asked.share) for count in PAPER_EPOCHS})
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        store.connect(f"sqlite:///{name}/mlflow.db")
        cutouts = packed(Path(name), asked.images, "asinh")
        bench = Bench({"asinh": cutouts}, None, torch.device("cpu"), store.experiment("ladder"), "ladder")

        def table(counts: list[int], seed: int) -> None:
            settings = {"architecture": asked.network, "normalisation": "asinh", "epochs": counts[-1], "seed": seed}
            for _ in trial.run(recipe(settings), counts, bench, None, asked.network):
                pass

        table([1], 0)  # loads what is needed
        together = seconds(lambda: table(counts, 1))
        apart = sum(seconds(lambda count=count: table([count], 2)) for count in counts)  # type: ignore[misc]
    show(
        f"A table of {asked.network} at {', '.join(map(str, counts))} epochs, {asked.images:,} images, rows recorded",
        ["one training", "a training for each count", "times as long"],
        [[f"{together:.0f} s", f"{apart:.0f} s", f"{apart / together:.2f}"]],
    )


if __name__ == "__main__":
    main()
