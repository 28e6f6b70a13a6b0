"""Writes simulated objects as the challenge's files, and their labels in either of its forms.

What is finished stays: a run that was killed goes on, and a larger count extends the set. `simulation.json` keeps
the settings; the labels are written last, when every object they name is there.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from orchestrator.data.catalogue import TRUTH
from orchestrator.data.challenge import SIZE, TRAINING_KEY, ImagingSet, cutout_path
from orchestrator.errors import DataError

VERSION = "1"
"""Of population and rendering: the same version, settings and index give the same object."""

FIRST_ID = 100_000
SHARD = 100
"""Objects a process makes at once."""

Form = Literal["key", "catalogue"]


@dataclass(frozen=True)
class _Settings:
    set: str
    seed: int
    difficulty: float
    labels: str
    version: str = VERSION


def simulate(
    root: Path,
    imaging: ImagingSet,
    count: int,
    seed: int,
    *,
    difficulty: float = 0.0,
    labels: Form = "key",
    workers: int | None = None,
) -> Iterator[int]:
    """Make a labelled set, or what is missing of it; yields the number of objects done so far.

    Args:
        root: the folder to write to.
        imaging: which of the two sets.
        count: objects in all.
        seed: of everything drawn; one object depends on seed, set, difficulty and its index alone.
        difficulty: magnitudes by which sources are fainter than the challenge's.
        labels: the training key, or the test catalogue.
        workers: processes, by default as many as there are cores.

    Raises:
        DataError: the folder holds something else, or a set of other settings.
    """
    _claim(root, _Settings(imaging.name, seed, difficulty, labels))
    for band in imaging.bands:
        cutout_path(root, imaging, 0, band, 0).parent.mkdir(parents=True, exist_ok=True)
    parts = root / ".parts"
    parts.mkdir(exist_ok=True)
    starts = [start for start in range(0, count, SHARD) if not _is_done(parts, start, min(SHARD, count - start))]
    done = count - sum(min(SHARD, count - start) for start in starts)
    yield done
    jobs = [(root, imaging, start, min(SHARD, count - start), seed, difficulty) for start in starts]
    for finished in _run(jobs, workers or os.cpu_count() or 1):
        done += finished
        yield done
    rows = [
        json.loads(line) for start in range(0, count, SHARD) for line in _part(parts, start).read_text().splitlines()
    ]
    _write_labels(root, imaging, rows[:count], labels)


def _claim(root: Path, settings: _Settings) -> None:
    note = root / "simulation.json"
    if not note.exists():
        if root.exists() and any(root.iterdir()):
            raise DataError(f"{root}: not empty, and no simulation; give a folder of its own")
        root.mkdir(parents=True, exist_ok=True)
        _write(note, json.dumps(asdict(settings), indent=1))
        return
    stored: dict[str, Any] = json.loads(note.read_text())
    for key, value in asdict(settings).items():
        if stored.get(key) != value:
            raise DataError(f"{root}: simulated with {key} = {stored.get(key)!r}, not {value!r}")


def _run(jobs: list[tuple[Any, ...]], workers: int) -> Iterator[int]:
    if workers == 1 or len(jobs) < 2:
        yield from (_make(*job) for job in jobs)
        return
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
    try:
        for future in as_completed([pool.submit(_make, *job) for job in jobs]):
            yield future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _part(parts: Path, start: int) -> Path:
    return parts / f"{start:08d}.jsonl"


def _is_done(parts: Path, start: int, count: int) -> bool:
    path = _part(parts, start)
    return path.exists() and len(path.read_text().splitlines()) >= count


def _make(root: Path, imaging: ImagingSet, start: int, count: int, seed: int, difficulty: float) -> int:
    import torch

    from orchestrator.data.simulation.population import draw
    from orchestrator.data.simulation.render import render

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    lines = []
    for index in range(start, start + count):
        scene = draw(imaging, seed, index, difficulty)
        made = render(imaging, scene)
        identifier = FIRST_ID + index
        for band, pixels in zip(imaging.bands, made.pixels, strict=True):
            cutout_path(root, imaging, 0, band, identifier).write_bytes(_fits(imaging, pixels))
        truth = {
            "ID": identifier,
            "is_lens": int(scene.is_lens),
            "theta_E": round(scene.theta_e, 5),
            "beta": round(float(np.hypot(scene.source[0].x, scene.source[0].y)), 5) if scene.source else "",
            "q": round(scene.q, 5),
            "phi": round(scene.phi, 5),
            "gamma1": round(scene.gamma1, 5),
            "gamma2": round(scene.gamma2, 5),
            "mag_lens": round(scene.foreground[0].magnitudes[0], 4),
            "mag_source": round(scene.source[0].magnitudes[0], 4) if scene.source else "",
            "mag_arcs": round(made.arc_magnitude, 4) if scene.source else "",
            "arc_pixels": made.arc_pixels,
            "arc_flux": round(made.arc_flux, 3),
            "arc_snr": round(made.arc_snr, 4),
            "near_blue": scene.near_blue,
            **{f"psf_fwhm_{b.name}": round(f, 5) for b, f in zip(imaging.bands, scene.fwhm, strict=True)},
            "noise_scale": round(scene.noise_scale, 5),
            "masked": made.masked,
            "seed": seed,
            "sim_version": VERSION,
        }
        lines.append(json.dumps(truth))
    torch.set_num_threads(threads)
    _write(_part(root / ".parts", start), "\n".join(lines))
    return count


def _fits(imaging: ImagingSet, pixels: NDArray[np.float32]) -> bytes:
    return _header(imaging.pixel_scale) + pixels.astype(">f4").tobytes().ljust(
        -(-4 * SIZE * SIZE // 2880) * 2880, b"\0"
    )


def _header(scale: float) -> bytes:
    degrees = scale / 3600
    cards = {
        "SIMPLE": "T",
        "BITPIX": "-32",
        "NAXIS": "2",
        "NAXIS1": str(SIZE),
        "NAXIS2": str(SIZE),
        "CRPIX1": "51.0",
        "CRPIX2": "51.0",
        "CDELT1": f"{-degrees:.12E}",
        "CDELT2": f"{degrees:.12E}",
        "NX": str(SIZE),
        "NY": str(SIZE),
    }
    text = "".join(f"{key:8}= {value:>20}".ljust(80) for key, value in cards.items()) + "END".ljust(80)
    return text.encode().ljust(2880)


def _write_labels(root: Path, imaging: ImagingSet, rows: list[dict[str, Any]], form: str) -> None:
    truth = [{key: value for key, value in row.items() if key != "is_lens"} for row in rows]
    _write(root / TRUTH, _csv(truth))
    if form == "key":
        label = [
            {
                "ID": row["ID"],
                "is_lens": row["is_lens"],
                "Einstein_area": f"{np.pi * (row['theta_E'] / 206264.806) ** 2:.6g}",
                "numb_pix_lensed_image": row["arc_pixels"],
                "flux_lensed_image_in_sigma": f"{row['arc_flux']:g}",
            }
            for row in rows
        ]
        _write(root / TRAINING_KEY, _csv(label))
    else:
        lens = [{"ID": row["ID"], "no_source": 1 - row["is_lens"]} for row in rows]
        _write(root / imaging.catalogue, "# simulated; no_source: 0 is a lens\n" + _csv(lens))


def _csv(rows: list[dict[str, Any]]) -> str:
    import io

    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else ["ID"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _write(path: Path, text: str) -> None:
    """Whole or not at all."""
    partial = path.with_suffix(f".{os.getpid()}.partial")
    partial.write_text(text)
    partial.replace(path)
