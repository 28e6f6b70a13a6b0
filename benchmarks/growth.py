"""Memory and time as scoring grows: cutouts of an HDF5 stack to ranked files, with a finder that costs next to nothing.

A stack of that many cutouts is some of them over and over, so that the disk is not filled; their identifiers and
positions are all there. `list` and `catalogue` are of how long a list of files, and a catalogue in Parquet with
identifiers and positions, takes until it can be read from: nothing of the cutouts is read.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import torch
from _machine import show
from torch import Tensor

from orchestrator.data import sources
from orchestrator.data.challenge import SIZE, SPACE
from orchestrator.data.whole import write
from orchestrator.learning import devices
from orchestrator.reports.scorefile import best
from orchestrator.studies import scoring
from orchestrator.tracking.models import Model

CPU = torch.device("cpu")
DIFFERENT = 16_384
"""Cutouts of a stack that differ."""

COUNTS = (1_000, 10_000, 100_000, 1_000_000)
KINDS = ("scores.parquet", "scores/", "list", "catalogue")
TOP = 200


def finder(flux: Tensor) -> dict[str, Tensor]:
    """A pixel as the logit."""
    logit = flux[:, 0, 50, 50]
    return {"logit": logit, "probability": torch.sigmoid(logit)}


def stack(place: Path, count: int) -> Path:
    """Of so many cutouts, with their identifiers and positions."""
    some, path = place / "some.h5", place / f"{count}.h5"
    rng = np.random.default_rng(0)
    if not some.exists():
        with h5py.File(some, "w") as file:
            file["images"] = rng.normal(0, 1, (DIFFERENT, SIZE, SIZE)).astype(np.float32)
    layout = h5py.VirtualLayout((count, SIZE, SIZE), np.float32)
    source = h5py.VirtualSource(some, "images", (DIFFERENT, SIZE, SIZE))
    for start in range(0, count, DIFFERENT):
        stop = min(start + DIFFERENT, count)
        layout[start:stop] = source[: stop - start]
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("images", layout)
        file["id"], file["ra"] = np.arange(count) + 10**9, rng.uniform(0, 360, count)
        file["dec"] = np.degrees(np.arcsin(rng.uniform(-1, 1, count)))
    return path


def listed(place: Path, count: int, kind: str) -> Path:
    """Paths of so many files that are not there."""
    path = place / (f"{count}.txt" if kind == "list" else f"{count}-catalogue.parquet")
    schema = pa.schema([("id", pa.int64()), ("path", pa.string()), ("ra", pa.float64()), ("dec", pa.float64())])
    with path.open("w") as lines, pyarrow.parquet.ParquetWriter(place / "catalogue", schema) as writer:
        for start in range(0, count, 100_000):
            numbers = range(start, min(start + 100_000, count))
            paths = [f"/survey/tile-{number // 1000:06d}/object-{number:09d}.fits" for number in numbers]
            if kind == "list":
                lines.write("\n".join(paths) + "\n")
            else:
                place_of = np.linspace(0, 90, len(numbers))
                writer.write_table(pa.table([np.array(numbers), paths, place_of, place_of], schema=schema))
    if kind == "catalogue":
        (place / "catalogue").replace(path)
    return path


def peak() -> float:
    """MB that this process had in memory at most; what `getrusage` tells is also of the process that began it."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def one(kind: str, data: Path, out: Path) -> dict[str, float]:
    """Seconds of each step, and MB at most, of this process."""
    devices.keep_memory()
    model = Model(finder, SPACE, "pixel", "", {}, None)  # type: ignore[arg-type]
    begin = peak()
    times = [time.perf_counter()]
    source = sources.find(data, SPACE)
    kept = scoring.parts(model, source, CPU, out, {}, many=kind.endswith("/"))
    times.append(time.perf_counter())
    if kind not in ("list", "catalogue"):
        with kept.opened(overwrite=False, resume=False):
            for _ in scoring.score(model, source, CPU, kept):
                pass
            times.append(time.perf_counter())
            kept.finish()
        times.append(time.perf_counter())
        assert len(best(out, TOP)) == min(TOP, len(source))
        times.append(time.perf_counter())
    steps = dict(zip(("find", "score", "rank", "top"), np.diff(times).tolist(), strict=False))
    return {**steps, "begin": begin, "peak": peak()}


def measure(kind: str, count: int, place: Path) -> dict[str, float]:
    """One row, in a process of its own."""
    data = listed(place, count, kind) if kind in ("list", "catalogue") else stack(place, count)
    out = place / "out"
    out.mkdir()
    command = [sys.executable, __file__, "--one", kind, str(data), f"{out}/{kind}"]
    try:
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    finally:
        shutil.rmtree(out)
        data.unlink()
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def plot(found: dict[str, dict[int, dict[str, float]]]) -> str:
    """Peak memory and seconds over the number of cutouts, both logarithmic, as a page that needs no network."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    figure = make_subplots(1, 2, subplot_titles=("peak memory of the process, MB", "seconds, all steps"))
    for kind, rows in found.items():
        most = [row["peak"] for row in rows.values()]
        whole = [sum(row.get(step, 0) for step in ("find", "score", "rank", "top")) for row in rows.values()]
        for column, values in enumerate((most, whole), start=1):
            line = go.Scatter(x=list(rows), y=values, name=kind, legendgroup=kind, showlegend=column == 1)
            figure.add_trace(line, 1, column)
    figure.update_xaxes(type="log", title="cutouts").update_yaxes(type="log")
    return str(figure.to_html(include_plotlyjs=True))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", nargs="*", type=int, default=COUNTS)
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=KINDS)
    parser.add_argument("--plot", type=Path, default=Path("growth.html"))
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        kind, data, out = chosen.one
        print(json.dumps(one(kind, Path(data), Path(out))))
        return
    found: dict[str, dict[int, dict[str, float]]] = {kind: {} for kind in chosen.kinds}

    def rows() -> object:
        with tempfile.TemporaryDirectory() as folder:
            for count in chosen.counts:
                for kind in chosen.kinds:
                    row = found[kind][count] = measure(kind, count, Path(folder))
                    steps = [f"{row[step]:,.1f}" if step in row else "" for step in ("find", "score", "rank", "top")]
                    yield [kind, f"{count:,}", *steps, f"{row['begin']:,.0f}", f"{row['peak']:,.0f}"]

    show(
        "Scoring with a finder that costs next to nothing",
        ["", "cutouts", "s: find", "score", "rank and write", f"best {TOP}", "MB: before", "at most"],
        rows(),  # type: ignore[arg-type]
    )
    write(chosen.plot, plot(found))


if __name__ == "__main__":
    main()
