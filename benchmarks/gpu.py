"""What a GPU reaches, in under 8 minutes: training, several trainings at once, and scoring, each against its limit.

    python benchmarks/gpu.py                    # all, on the first GPU
    python benchmarks/gpu.py exact training     # some of it
    python benchmarks/gpu.py --smoke            # all of it on the CPU, with next to no data: that it runs

It needs no network and no data: speed does not depend on what the pixels show. Where the project is not installed,
PYTHONPATH names its folder, and one with the packages that the machine lacks.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _machine import seconds, show
from scoring import exported
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

import architectures
from orchestrator.data import sources
from orchestrator.data.challenge import GROUND, SPACE, ImagingSet
from orchestrator.data.simulation import simulate
from orchestrator.learning import devices
from orchestrator.learning.batches import Batches
from orchestrator.learning.inference import score
from orchestrator.learning.recipe import recipe
from orchestrator.learning.step import SWITCH
from orchestrator.learning.training import Training, begin, restore, save, train
from orchestrator.studies import scoring

SIZE, MINUTES = 101, 7.5
BATCHES = (128, 8, 32, 512)
"""The order in which they are measured: should the time run out, the last are missing."""


class Bench:
    """The device, the time there is, and how much is done in it."""

    def __init__(self, smoke: bool) -> None:
        self.smoke = smoke
        self.device = devices.choose("cpu" if smoke else "cuda")
        self.networks = ("lens_flow",) if smoke else architectures.names()
        self.batches = (8,) if smoke else BATCHES
        self.end = time.monotonic() + 60 * MINUTES

    def images(self, wanted: int) -> int:
        """So many, or next to none."""
        return min(wanted, 24) if self.smoke else wanted

    def wait(self) -> None:
        """Until the device has done what it was asked for."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def rate(self, count: int, work: Callable[[], object], repeats: int = 3) -> float:
        """Images a second of work on so many, the best of some repeats after one that warms up."""
        work()
        self.wait()
        return count / min(seconds(lambda: (work(), self.wait())) for _ in range(repeats))

    def tried(self, work: Callable[..., float | str], *given: Any) -> str:
        """What work gives, or why it gives nothing; memory is free again afterwards."""
        if time.monotonic() > self.end:
            return "no time left"
        try:
            found = work(*given)
        except Exception as error:  # one cell of many: the others are still worth having
            found = f"{type(error).__name__}: {str(error).partition(chr(10))[0][:90]}"
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return found if isinstance(found, str) else f"{found:,.0f}"


def noise(count: int, bands: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixels and labels."""
    pixels = np.random.default_rng(0).standard_normal((count, bands, SIZE, SIZE), dtype=np.float32)
    return pixels, (np.arange(count) % 2).astype(np.int8)


def started(
    name: str, batch: int, pixels: np.ndarray, labels: np.ndarray, device: torch.device
) -> tuple[Training, Batches]:
    """A training of one network with all nine transformations, and its batches."""
    asked = recipe({"architecture": name, "batch_size": batch, "epochs": 100_000, "seed": 1})
    rows = np.arange(len(pixels))
    return begin(asked, pixels.shape[1], SIZE, device), Batches(pixels, labels, rows, batch, device, asked.augment, 1)


def trained(training: Training, batches: Batches, epochs: int) -> list[float]:
    """Train on until so many epochs are done; the seconds of each."""
    return [epoch.seconds for epoch in train(training, batches.epoch, epochs, lambda _: {})]


def switched(on: bool) -> None:
    """Steps as CUDA graphs, or call by call."""
    os.environ[SWITCH] = str(int(on))


def exact(bench: Bench) -> Iterator[list[str]]:
    """Whether graphs train the network that steps call by call do, and go on from a checkpoint to the same."""
    pixels, labels = noise(bench.images(160), 1)

    def run(name: str, graphs: bool, stop: bool) -> Training:
        switched(graphs)
        training, batches = started(name, 8 if bench.smoke else 32, pixels, labels, bench.device)
        if stop:
            trained(training, batches, 1)
            with tempfile.TemporaryDirectory() as folder:
                save(training, Path(folder) / "checkpoint.pt", {})
                training, _ = started(name, training.recipe.batch_size, pixels, labels, bench.device)
                restore(training, Path(folder) / "checkpoint.pt")
        trained(training, batches, 3)
        return training

    def same(name: str, *graphs: bool, stop: bool = False) -> str:
        one, other = (run(name, each, stop and number == 1).network for number, each in enumerate(graphs))
        pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
        return "equal" if all(torch.equal(a, b) for a, b in pairs) else "DIFFERENT"

    for name in bench.networks:
        kinds = [(False, False), (True, True), (True, False)]
        resumed = partial(same, stop=True)
        yield [name, *(bench.tried(same, name, *each) for each in kinds), bench.tried(resumed, name, True, True)]


def limit(name: str, batch: int, bands: int, bench: Bench) -> float:
    """Images a second of forward, backward and fused Adam alone, as one graph, with all that makes it fast."""
    there = bench.device.type == "cuda"
    network = architectures.create(name, bands=bands).to(bench.device, memory_format=torch.channels_last).train()
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-4, fused=True, capturable=there)
    images = torch.randn(batch, bands, SIZE, SIZE, device=bench.device).to(memory_format=torch.channels_last)
    labels = torch.zeros(batch, device=bench.device)

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast(bench.device.type, torch.bfloat16):
            logits = network(images)
        binary_cross_entropy_with_logits(logits.float(), labels).backward()
        optimiser.step()

    repeats = 2 if bench.smoke else max(10, min(100, 8000 // batch))
    with torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=True):
        work = step
        if there:
            aside = torch.cuda.Stream()
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):
                for _ in range(3):
                    step()
            torch.cuda.current_stream().wait_stream(aside)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                step()
            work = graph.replay
        return bench.rate(batch * repeats, lambda: [work() for _ in range(repeats)])


def training(bench: Bench) -> Iterator[list[str]]:
    """Training end to end, augmented, with graphs and call by call, against a captured step alone."""
    sets = {each.name: noise(bench.images(8192), len(each.bands)) for each in (SPACE, GROUND)}

    def project(name: str, batch: int, pixels: np.ndarray, labels: np.ndarray, graphs: bool) -> float:
        switched(graphs)
        count = min(len(pixels), max(512, 64 * batch))
        begun, batches = started(name, batch, pixels[:count], labels[:count], bench.device)
        return count / min(trained(begun, batches, 2 if bench.smoke else 4)[1:])

    for batch in bench.batches:
        for set_name, (pixels, labels) in sets.items():
            for name in bench.networks:
                cells = [
                    bench.tried(project, name, batch, pixels, labels, True),
                    bench.tried(project, name, batch, pixels, labels, False),
                    bench.tried(limit, name, batch, pixels.shape[1], bench),
                ]
                yield [name, set_name, str(batch), *cells, share(cells[0], cells[2])]


def share(part: str, whole: str) -> str:
    """Of two numbers as they are printed."""
    try:
        return f"{float(part.replace(',', '')) / float(whole.replace(',', '')):.2f}"
    except ValueError:
        return "–"


def together(smoke: bool, start: Any, rates: Any) -> None:
    """In a process of its own: train lens_flow in batches of 32 for some seconds, from when all are ready."""
    bench = Bench(smoke)
    switched(True)
    begun, batches = started("lens_flow", 8 if smoke else 32, *noise(bench.images(2048), 1), bench.device)
    trained(begun, batches, 2)
    start.wait()
    before, done = time.monotonic(), 0
    while time.monotonic() - before < (1 if smoke else 6):
        trained(begun, batches, begun.epoch + 1)
        done += len(batches.rows)
    rates.put(done / (time.monotonic() - before))


def workers(bench: Bench) -> Iterator[list[str]]:
    """Trainings of lens_flow in batches of 32 at the same time, each in its process."""
    spawn = multiprocessing.get_context("spawn")

    def rate(count: int) -> float:
        start, rates = spawn.Barrier(count), spawn.Queue()
        processes = [
            spawn.Process(target=together, args=(bench.smoke, start, rates), daemon=True) for _ in range(count)
        ]
        for each in processes:
            each.start()
        total = sum(rates.get(timeout=120) for _ in processes)
        for each in processes:
            each.join()
        return total

    alone = bench.tried(rate, 1)
    for count in (1, 2) if bench.smoke else (1, 2, 4):
        total = alone if count == 1 else bench.tried(rate, count)
        yield [str(count), total, share(total, alone)]


def cache(bench: Bench) -> Iterator[list[str]]:
    """Scoring packed cutouts from a memory map, against the network alone on what is on the device already."""

    def mapped(network: nn.Module, pixels: np.ndarray) -> float:
        return bench.rate(len(pixels), lambda: score(network, pixels, bench.device), 2)

    def resident(network: nn.Module, images: torch.Tensor, half: bool) -> float:
        with torch.inference_mode(), devices.autocast(bench.device, "bfloat16" if half else "float32"):
            return bench.rate(len(images), lambda: network(images))

    with tempfile.TemporaryDirectory() as folder:
        for imaging in (SPACE, GROUND):
            path = Path(folder) / f"{imaging.name}.npy"
            np.save(path, noise(bench.images(8192), len(imaging.bands))[0])
            pixels = np.load(path, mmap_mode="r")
            for name in bench.networks:
                network = architectures.create(name, bands=pixels.shape[1]).to(bench.device).eval()
                images = torch.from_numpy(pixels[:2048].copy()).to(bench.device)
                cells = [
                    bench.tried(mapped, network, pixels),
                    bench.tried(resident, network, images, False),
                    bench.tried(resident, network.to(memory_format=torch.channels_last), images, True),
                ]
                yield [name, imaging.name, *cells, share(cells[0], cells[1])]


def files(bench: Bench) -> Iterator[list[str]]:
    """Scoring FITS files, as `orchestrator score` does once it has started."""
    count = bench.images(40_000)

    def rate(name: str, imaging: ImagingSet, root: Path, place: Path) -> float:
        model = exported(name, imaging, place, bench.device)
        paths = [entry.paths for entry in sources.find(root, imaging).listing.entries(0, 2000)]  # type: ignore[union-attr]
        lines = [" ".join(map(str, each)) for each in paths]
        listed = place / "list.txt"
        listed.write_text("\n".join((lines * (count // len(lines) + 1))[:count]))
        source = sources.find(listed, imaging)
        kept = scoring.parts(model, source, bench.device, place / f"{name}.parquet", {})
        begin_at = time.perf_counter()
        with kept.opened(overwrite=True, resume=False):
            for _ in scoring.score(model, source, bench.device, kept):
                pass
            kept.finish()
        return count / (time.perf_counter() - begin_at)

    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for _ in simulate(place / "set", SPACE, bench.images(2000), 1, workers=os.cpu_count() or 1):
            pass
        for name in bench.networks[:1] if bench.smoke else ("lens_flow", "cmu_deeplens"):
            bench.tried(rate, name, SPACE, place / "set", place)  # libraries are loaded, files are in memory
            yield [name, SPACE.name, bench.tried(rate, name, SPACE, place / "set", place)]


SECTIONS: dict[str, tuple[Callable[[Bench], Iterator[list[str]]], Sequence[str]]] = {
    "exact": (exact, ["network", "called, repeated", "graphs, repeated", "graphs and called", "graphs, resumed"]),
    "cache": (cache, ["network", "set", "score(), images a second", "resident float32", "resident bf16", "share"]),
    "files": (files, ["network", "set", "FITS files, cutouts a second"]),
    "workers": (workers, ["processes", "images a second in all", "over one alone"]),
    "training": (
        training,
        ["network", "set", "batch", "with graphs, images a second", "called", "captured step alone", "share"],
    ),
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", help=f"of {', '.join(SECTIONS)}; default: all")
    parser.add_argument("--smoke", action="store_true", help="on the CPU, with next to no data")
    wanted = parser.parse_args()
    bench = Bench(wanted.smoke)
    for name in wanted.sections or SECTIONS:
        measure, header = SECTIONS[name]
        show(f"\n{name}: {measure.__doc__}", header, measure(bench), bench.device)


if __name__ == "__main__":
    main()
