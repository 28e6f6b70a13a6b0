"""Makes a labelled set on disk, in parallel; what is finished stays.

While a set is being made the truth of finished objects lies in `.parts`; when all are there `truth.csv` and the labels
take its place. `simulation.json` keeps the settings. A run that was killed goes on, and a larger count extends a set.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from filelock import FileLock

from orchestrator.data.catalogue import TRUTH
from orchestrator.data.challenge import TRAINING_KEY, ImagingSet, cutout_path
from orchestrator.data.processes import spread
from orchestrator.data.simulation import files
from orchestrator.data.whole import whole
from orchestrator.errors import DataError, one_of
from orchestrator.json_text import as_json

VERSION = "1"
"""Of population and rendering: the same version, settings and index give the same object."""

FIRST_ID = 100_000
SHARD = 50
"""Objects a process makes at once."""

SETTINGS, PARTS = "simulation.json", ".parts"

Form = Literal["key", "catalogue"]


@dataclass(frozen=True)
class _Settings:
    set: str
    seed: int
    difficulty: float
    labels: str
    count: int
    version: str = VERSION


@dataclass(frozen=True)
class _Shard:
    root: Path
    imaging: ImagingSet
    start: int
    count: int
    seed: int
    difficulty: float

    @property
    def part(self) -> Path:
        """Holds the truth of its objects once all their files are written."""
        return self.root / PARTS / f"{self.start:08d}.csv"


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
        count: objects in all; a set never gets smaller.
        seed: of everything drawn; an object depends on seed, set, difficulty and its index alone.
        difficulty: magnitudes by which sources are fainter than the challenge's.
        labels: the training key, or the test catalogue.
        workers: processes, by default as many as there are cores.

    Raises:
        DataError: an argument that is none, a folder that holds something else, or a set of other settings or of
            more objects; and an object that cannot be written.
    """
    settings = _Settings(imaging.name, seed, difficulty, labels, count)
    _check(settings)
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(root.with_name(f".{root.name}.lock")):  # two at work on one set would lose each other's objects
            yield from _simulate(root, imaging, settings, workers)
    except OSError as error:
        raise DataError(f"{error.filename or root}: {error.strerror or error}") from None


def _simulate(root: Path, imaging: ImagingSet, settings: _Settings, workers: int | None) -> Iterator[int]:
    count, seed, difficulty, labels = settings.count, settings.seed, settings.difficulty, settings.labels
    _claim(root, settings)
    for band in imaging.bands:
        cutout_path(root, imaging, 0, band, 0).parent.mkdir(parents=True, exist_ok=True)
    (root / PARTS).mkdir(exist_ok=True)
    truth = root / TRUTH
    rows = files.rows(truth.read_text()) if truth.exists() else []
    shards = [
        _Shard(root, imaging, start, min(SHARD, count - start), seed, difficulty)
        for start in range(len(rows), count, SHARD)
    ]
    todo = [shard for shard in shards if len(_rows(shard)) < shard.count]
    done = count - sum(shard.count for shard in todo)
    yield done
    for finished in spread(_make, todo, workers):
        done += finished
        yield done
    rows += [row for shard in shards for row in _rows(shard)[: shard.count]]
    _write(truth, files.table(rows))
    if labels == "key":
        _write(root / TRAINING_KEY, files.training_key(rows))
    else:
        _write(root / imaging.catalogue, files.catalogue(rows))
    shutil.rmtree(root / PARTS)


def _check(settings: _Settings) -> None:
    if settings.count < 1:
        raise DataError(f"count {settings.count}: a set has at least one object (allowed: 1 or more)")
    if settings.seed < 0:
        raise DataError(f"seed {settings.seed}: negative (allowed: 0 or more)")
    if not np.isfinite(settings.difficulty):
        raise DataError(f"difficulty {settings.difficulty}: not a number of magnitudes (allowed: finite ones)")
    if settings.labels not in get_args(Form):
        raise DataError(one_of("form of labels", settings.labels, get_args(Form)))


def _claim(root: Path, settings: _Settings) -> None:
    """Write down what the folder is for; DataError where that is something else."""
    note = root / SETTINGS
    if not note.exists():
        if root.exists() and any(root.iterdir()):
            raise DataError(f"{root}: not empty, and no simulation; give a folder of its own")
        root.mkdir(parents=True, exist_ok=True)
    else:
        try:
            stored: dict[str, Any] = dict(json.loads(note.read_text()))
        except ValueError:
            raise DataError(f"{note}: not the settings of a simulation; give another folder") from None
        for key, value in asdict(settings).items():
            if key != "count" and stored.get(key) != value:
                raise DataError(f"{root}: simulated with {key} = {stored.get(key)!r}, not {value!r}")
        if settings.count < stored["count"]:
            raise DataError(f"{root}: a set of {stored['count']} objects, not {settings.count} (allowed: more)")
    _write(note, as_json(asdict(settings), indent=1) + "\n")


def _rows(shard: _Shard) -> list[files.Row]:
    return files.rows(shard.part.read_text()) if shard.part.exists() else []


def _make(shard: _Shard) -> int:
    import torch

    from orchestrator.data.simulation.population import draw
    from orchestrator.data.simulation.render import render

    imaging, rows = shard.imaging, []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # processes share the cores already, and sums must not depend on threads
    try:
        for index in range(shard.start, shard.start + shard.count):
            identifier = FIRST_ID + index
            scene = draw(imaging, shard.seed, index, shard.difficulty)
            made = render(imaging, scene)
            for band, pixels in zip(imaging.bands, made.pixels, strict=True):
                cutout_path(shard.root, imaging, 0, band, identifier).write_bytes(files.fits(imaging, pixels))
            lens, source = scene.lens, scene.source[:1]
            truth = {
                "ID": identifier,
                "is_lens": int(scene.is_lens),
                "kind": scene.kind,
                "theta_E": f"{lens.theta_e:.5f}",
                "beta": f"{np.hypot(source[0].x, source[0].y):.5f}" if source else "",
                "q": f"{lens.q:.5f}",
                "phi": f"{lens.phi:.5f}",
                "gamma1": f"{lens.gamma1:.5f}",
                "gamma2": f"{lens.gamma2:.5f}",
                "mag_lens": f"{scene.magnitude:.4f}",
                "mag_source": f"{scene.source_magnitude:.4f}" if source else "",
                "mag_arcs": f"{made.arc_magnitude:.4f}" if np.isfinite(made.arc_magnitude) else "",
                "arc_pixels": made.arc_pixels,
                "arc_flux": f"{made.arc_flux:.6g}",
                "arc_snr": f"{made.arc_snr:.4f}",
                "near_blue": scene.near_blue,
                **{f"psf_fwhm_{b.name}": f"{w:.5f}" for b, w in zip(imaging.bands, scene.fwhm, strict=True)},
                **{f"noise_scale_{b.name}": f"{s:.5f}" for b, s in zip(imaging.bands, scene.noise_scale, strict=True)},
                "masked": made.masked,
                "seed": shard.seed,
                "sim_version": VERSION,
            }
            rows.append({key: str(value) for key, value in truth.items()})
    finally:
        torch.set_num_threads(threads)
    _write(shard.part, files.table(rows))
    return shard.count


def _write(path: Path, text: str) -> None:
    """Write the whole file or nothing, and nothing where it holds that already."""
    if path.exists() and path.read_text() == text:
        return
    with whole(path) as partial:
        partial.write_text(text)
