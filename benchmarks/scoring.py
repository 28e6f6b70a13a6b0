"""Cutouts a second from FITS files to the ranked file, beside the loop one would write and the finder alone.

    .venv/bin/python benchmarks/scoring.py [network …] [--sets space] [--seconds 3] [--repeats 3]

That loop opens each file with astropy, normalises it with astropy's ZScale, and has a DataLoader and float32; it stops
at the scores, where the program judges each cutout, finds its position and writes a ranked file, too. All take turns in
one process, with all cores. CPU seconds of all threads are told where other work beside makes those of the clock say
little.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import _original
import numpy as np
import torch
from _machine import show
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

import architectures
from orchestrator.data import sources
from orchestrator.data.challenge import SETS, ImagingSet
from orchestrator.data.simulation import simulate
from orchestrator.learning import devices, pt2
from orchestrator.learning import finder as finders
from orchestrator.learning.finder import Finder
from orchestrator.learning.inference import BATCH, evaluating
from orchestrator.studies import scoring
from orchestrator.tracking.recorded import Model

CPU = torch.device("cpu")
FILES = 200
"""Different cutouts."""

PLAIN, OURS, FAST = "plain loop", "end to end", "end to end, OpenVINO"
WAYS = (PLAIN, "finder alone", OURS, "finder alone, OpenVINO", FAST)


def exported(name: str, imaging: ImagingSet, place: Path, device: torch.device = CPU) -> Model:
    """An untrained finder as it is loaded from the registry."""
    torch.manual_seed(0)
    path = place / "finder.pt2"
    bands = len(imaging.bands)
    finders.export(Finder(architectures.create(name, bands=bands), "zscale"), bands, 101, path)
    return Model(pt2.read(path, device), imaging, name, finders.digest(path), {}, path.read_bytes())


class Opened(Dataset[Tensor]):
    """Cutouts as one would read them."""

    def __init__(self, paths: list[tuple[str, ...]]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> Tensor:
        from astropy.io import fits
        from astropy.visualization import ZScaleInterval

        return torch.from_numpy(
            np.stack([ZScaleInterval()(fits.getdata(path)).astype(np.float32) for path in self.paths[number]])
        )


def ways(name: str, imaging: ImagingSet, root: Path, place: Path) -> list[Callable[[int], object]]:
    """Those of `WAYS`; each scores so many batches."""
    model = exported(name, imaging, place)
    source = sources.find(root, imaging)
    fast, _ = scoring.computed(model, source, CPU, scoring.OPENVINO, print)
    paths = [each.paths for each in source.listing.entries(0, FILES)]  # type: ignore[union-attr]
    flux = torch.from_numpy(source.read(0, BATCH).flux)
    network = architectures.create(name, bands=len(imaging.bands)).eval()

    def plain(batches: int) -> None:
        with torch.inference_mode():
            for images in DataLoader(Opened((paths * batches)[: batches * BATCH]), batch_size=BATCH):  # type: ignore[arg-type]
                network(images).sigmoid().numpy()

    def alone(finder: Callable[[Tensor], object], batches: int) -> None:
        with evaluating(finder), torch.inference_mode():
            for _ in range(batches):
                finder(flux)

    def everything(used: Model, batches: int) -> None:
        listed = place / "list.txt"
        lines = [" ".join(map(str, each)) for each in paths]
        listed.write_text("\n".join((lines * batches)[: batches * BATCH]))
        found = sources.find(listed, imaging)
        kept = scoring.parts(used, found, CPU, place / "scores.parquet", {})
        with kept.opened(overwrite=True, resume=False):
            for _ in scoring.score(used, found, CPU, kept):
                pass
            kept.finish()

    return [
        plain,
        lambda batches: alone(model.finder, batches),
        lambda batches: everything(model, batches),
        lambda batches: alone(fast.finder, batches),
        lambda batches: everything(fast, batches),
    ]


def measure(
    compared: dict[str, Callable[[int], object]], least: float, repeats: int, clock: Callable[[], float]
) -> tuple[list[str], float]:
    """Cells of a row: images a second of each, and by how much ours exceed the plain loop's; and the most of ours."""
    taken: dict[str, list[float]] = {way: [] for way in compared}
    counts = {}
    for way, work in compared.items():
        work(2)
        begin = clock()
        work(2)
        counts[way] = max(2, round(2 * least / (clock() - begin)))
    for _ in range(repeats):
        for way, work in compared.items():
            begin = clock()
            work(counts[way])
            taken[way].append((clock() - begin) / counts[way] / BATCH)
    cells = [f"{1 / statistics.median(taken[way]):,.0f}" for way in compared]
    for way in (OURS, FAST):
        pairs = zip(taken[PLAIN], taken[way], strict=True)
        cells.append(f"{statistics.median(first / second for first, second in pairs):.2f}")
    return cells, max(1 / statistics.median(taken[way]) for way in (OURS, FAST))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=architectures.names(), help="default: all")
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--seconds", type=float, default=3, help="that each takes in a turn, by about")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cpu", action="store_true", help="count CPU seconds")
    asked = parser.parse_args()
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    devices.choose("cpu")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        show(
            f"Scoring from FITS files to Parquet on the CPU, batches of {BATCH}, {torch.get_num_threads()} threads:"
            f" images a {'CPU ' if asked.cpu else ''}second, medians of {asked.repeats} turns",
            ["network", "set", *WAYS, "end to end / plain", "OpenVINO / plain", *_original.HEADER],
            rows(asked, Path(folder), time.process_time if asked.cpu else time.perf_counter),
        )


def rows(asked: argparse.Namespace, place: Path, clock: Callable[[], float]) -> Iterator[list[str]]:
    """Those of the table, each as soon as it is measured."""
    scaled = _original.scale() / (torch.get_num_threads() if asked.cpu else 1)
    for imaging in (SETS[name] for name in asked.sets):
        root = place / imaging.name
        for _ in simulate(root, imaging, FILES, 1):
            pass
        for name in asked.networks:
            compared = dict(zip(WAYS, ways(name, imaging, root, place), strict=True))
            cells, best = measure(compared, asked.seconds, asked.repeats, clock)
            yield [name, imaging.name, *cells, *_original.cells(_original.SCORED, name, imaging.name, scaled, best)]


if __name__ == "__main__":
    main()
