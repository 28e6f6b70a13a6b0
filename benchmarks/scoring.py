"""Cutouts a second from files to the ranked file, against what the finder alone reaches at the same batch."""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from pathlib import Path

import torch
from _machine import seconds, show

import architectures
from orchestrator.data import sources
from orchestrator.data.challenge import SETS, ImagingSet
from orchestrator.data.simulation import simulate
from orchestrator.learning import finder as finders
from orchestrator.learning import pt2
from orchestrator.learning.finder import Finder
from orchestrator.learning.inference import BATCH, evaluating
from orchestrator.studies import scoring
from orchestrator.tracking.recorded import Model

CPU = torch.device("cpu")
FILES, REPEATS, LEAST = 200, 5, 6
"""Different cutouts, repeats, and seconds that a repeat takes at least, by about."""


def exported(name: str, imaging: ImagingSet, place: Path, device: torch.device = CPU) -> Model:
    """An untrained finder as it is loaded from the registry."""
    torch.manual_seed(0)
    path = place / "finder.pt2"
    bands = len(imaging.bands)
    finders.export(Finder(architectures.create(name, bands=bands), "zscale"), bands, 101, path)
    return Model(pt2.read(path, device), imaging, name, "", {}, path.read_bytes())


def measure(name: str, imaging: ImagingSet, root: Path, place: Path) -> list[str]:
    """One row of the table."""
    model, device = exported(name, imaging, place), CPU
    paths = [entry.paths for entry in sources.find(root, imaging).listing.entries(0, FILES)]  # type: ignore[union-attr]
    lines = [" ".join(map(str, each)) for each in paths]
    flux = torch.from_numpy(sources.find(root, imaging).read(0, BATCH).flux)

    def alone(batches: int) -> None:
        with evaluating(model.finder), torch.inference_mode():
            for _ in range(batches):
                model.finder(flux)

    def everything(listed: Path) -> None:
        source = sources.find(listed, imaging)
        kept = scoring.parts(model, source, device, place / "scores.parquet", {})
        with kept.opened(overwrite=True, resume=False):
            for _ in scoring.score(model, source, device, kept):
                pass
            kept.finish()

    alone(2)
    batches = max(4, round(LEAST / seconds(lambda: alone(2)) * 2))
    count = batches * BATCH
    listed = place / "list.txt"
    listed.write_text("\n".join((lines * (count // len(lines) + 1))[:count]))
    pairs = [(seconds(lambda: alone(batches)), seconds(lambda: everything(listed))) for _ in range(REPEATS)]
    network, whole = (count / statistics.median(times) for times in zip(*pairs, strict=True))
    ratio = statistics.median(first / second for first, second in pairs)
    fastest = count / min(second for _, second in pairs)
    return [name, imaging.name, f"{network:,.0f}", f"{whole:,.0f}", f"{fastest:,.0f}", f"{ratio:.0%}"]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="*", default=architectures.names(), help="default: all")
    names = parser.parse_args().networks
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for imaging in SETS.values():
            root = place / imaging.name
            for _ in simulate(root, imaging, FILES, 1):
                pass
            rows += [measure(name, imaging, root, place) for name in names]
    show(
        f"Scoring from files to Parquet, batches of {BATCH} on the CPU, alternating, median of {REPEATS};"
        " held: 90 % of the finder alone (lens_flow: 3,000 Space cutouts a second)",
        ["network", "set", "finder alone, images a second", "end to end", "fastest", "ratio, median of pairs"],
        rows,
    )


if __name__ == "__main__":
    main()
