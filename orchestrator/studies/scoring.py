"""Scores any number of cutouts with a model, from their files to one ranked file."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from itertools import islice
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from orchestrator.data.readers import AVAILABLE, Readers
from orchestrator.data.sources import Source
from orchestrator.data.sources.files import Files
from orchestrator.data.sources.pieces import Piece, Row
from orchestrator.errors import RecipeError, StudyError
from orchestrator.learning import openvino
from orchestrator.learning.batches import ahead
from orchestrator.learning.finder import Scores
from orchestrator.learning.inference import BATCH, evaluating
from orchestrator.learning.prevalence import corrected
from orchestrator.reports.candidates import Candidate, page
from orchestrator.reports.scorefile import Parts, best

if TYPE_CHECKING:
    from orchestrator.tracking.recorded import Model

WORKERS = 4
"""Threads at most that each read and score a batch of their own: above that, threads inside a network are as good."""

AHEAD = 2
"""Batches a worker is ahead."""

GPU_BATCH = 512
"""Cutouts at once on a GPU."""


TORCH, OPENVINO = "torch", "openvino"
"""What may compute."""

MANY = 20_000
"""Cutouts in files for which starting processes that read them pays."""

LEAST = 2000
"""Cutouts for which converting a model pays; with fewer, torch has scored them before."""


class Batch(NamedTuple):
    """Some objects, and their logits and probabilities: (2, n), NaN of those that cannot be scored."""

    rows: list[Row]
    scores: NDArray[np.float32]


def at(model: Model, uri: str, prevalence: float | None) -> Model:
    """A model with its probabilities at another share of lenses, that of the sky; see `learning.prevalence.corrected`.

    Raises:
        TrackingError: it is not on record at what share they are.
    """
    if prevalence is None:
        return model
    from orchestrator.studies.evaluation import share_of

    share = share_of(uri, model)

    def finder(flux: Tensor) -> Scores:
        found = model.finder(flux)
        return {**found, "probability": corrected(found["probability"], share, prevalence)}

    return model._replace(finder=finder)  # type: ignore[arg-type] # it is called, and its graph not looked at


def computed(
    model: Model, source: Source, device: torch.device, runtime: str | None, tell: Callable[[str], None]
) -> tuple[Model, str]:
    """The same model as it is computed fastest, and by what: OpenVINO where it is installed, and gives the same.

    Args:
        model: as loaded.
        source: what is to be scored; the two are compared on its first cutouts.
        device: a CPU, or torch computes.
        runtime: TORCH or OPENVINO, if one was asked for; by default OpenVINO for `LEAST` cutouts or more.
        tell: called with a line where OpenVINO would be used, and is not, since it gives something else.

    Raises:
        StudyError: OpenVINO was asked for, and is not there.
        RecipeError: it was asked for, and gives something else.
    """
    version = openvino.version()
    if runtime == OPENVINO and (device.type != "cpu" or version is None):
        lacks = "computes on a CPU (--device cpu)" if version else "needs pip install 'lens-orchestrator[fast]'"
        raise StudyError(f"--runtime openvino: {lacks}")
    by_itself = runtime is None and device.type == "cpu" and version and len(source) >= LEAST
    flux = _first(source) if runtime == OPENVINO or by_itself else None
    if flux is None:
        return model, TORCH
    cores = torch.get_num_threads()
    try:
        engine = openvino.load(model.finder, model.digest, flux.shape[1:], cores, min(cores, WORKERS))
        differs = openvino.difference(engine, model.finder, flux)
        if not differs <= openvino.DIFFERENCE:
            raise RecipeError(f"OpenVINO differs from the graph by {differs:.2g}, and may by {openvino.DIFFERENCE:g}")
    except RecipeError as error:
        if runtime:
            raise
        tell(f"{model.version}: {error}; torch scores instead")
        return model, TORCH
    return model._replace(finder=engine), f"{OPENVINO} {version}"  # type: ignore[arg-type] # it is only called


def parts(
    model: Model,
    source: Source,
    device: torch.device,
    out: Path,
    settings: dict[str, str],
    runtime: str = TORCH,
    many: bool = False,
) -> Parts:
    """What the scores of a source are kept in; it tells apart all that makes a difference to them.

    Args:
        model: as loaded.
        source: what is scored.
        device: two kinds of devices do not round alike.
        out: the file or folder to write in the end.
        settings: how the source is read.
        runtime: what computes on the device does not round alike either.
        many: whether it is a folder.
    """
    about = {
        "model": model.version,
        "digest of the model": model.digest,
        "digest of the data": source.digest(),
        "number of objects": len(source),
        "device": device.type if runtime == TORCH else f"{device.type}, {runtime}",
        **settings,
    }
    return Parts(out, about, len(source), source.state, many)


def score(
    model: Model, source: Source, device: torch.device, kept: Parts, others: Sequence[tuple[Model, torch.device]] = ()
) -> Iterator[int]:
    """Score what is missing, part by part; yields how many objects are done.

    Args:
        model: as loaded.
        source: what is scored.
        device: where the model is.
        kept: where its scores go.
        others: the same model on further devices of that kind.
    """
    missing = kept.missing()
    done = len(source) - sum(map(len, missing))
    yield done
    states: dict[range, str] = {}

    def noted() -> Iterator[range]:
        for part in missing:
            states[part] = kept.state_of(part)  # before its first file is read
            yield part

    batches = scored(model, source, device, noted(), others, len(source) - done)
    for part in missing:
        found: list[Batch] = []
        for batch in islice(batches, len(part[:: _size(device)])):
            found.append(batch)
            done += len(batch.rows)
            yield done
        kept.write(part, columns(found), states[part])


def scored(
    model: Model,
    source: Source,
    device: torch.device,
    parts: Iterable[range],
    others: Sequence[tuple[Model, torch.device]] = (),
    objects: int = 0,
) -> Iterator[Batch]:
    """Read and score some parts of a source, in batches that begin anew with each part, and in their order.

    Args:
        model: see `score`.
        source: likewise.
        device: likewise.
        parts: rows.
        others: see `score`.
        objects: in all parts, if it is known; of `MANY` or more files, processes may read.

    Raises:
        DataError: a process that reads was killed.
    """
    size, cores = _size(device), torch.get_num_threads()
    batches = (range(start, min(start + size, part.stop)) for part in parts for start in part[::size])
    workers = min(cores, WORKERS)
    free: SimpleQueue[tuple[Model, torch.device]] = SimpleQueue()  # a batch goes to the device that is free next
    for each in ((model, device), *others) * workers:
        free.put(each)

    def compute(flux: NDArray[np.float32]) -> NDArray[np.float32]:
        scorer, place = free.get()
        try:
            found = scorer.finder(_on(place, torch.from_numpy(flux)))
            both: NDArray[np.float32] = torch.stack([found["logit"], found["probability"]]).cpu().numpy()
            return both
        finally:
            free.put((scorer, place))

    def read_and_score(batch: range) -> Batch:
        with read(batch.start, batch.stop) as piece, torch.inference_mode():
            scores = np.full((2, len(batch)), np.nan, np.float32)
            if piece.good.any():
                scores[:, piece.good] = compute(piece.flux)
            return Batch(piece.rows, scores)

    with ExitStack() as stack:
        for scorer in (model, *(other for other, _ in others)):
            stack.enter_context(evaluating(scorer.finder))
        stack.enter_context(_threads(cores // workers))
        threads = workers * (1 + len(others))
        count = _readers(device, cores, objects)
        if count and isinstance(source, Files):
            threads += count
            readers = stack.enter_context(closing(Readers(source, count, size, threads)))
            read: Callable[[int, int], AbstractContextManager[Piece]] = readers.read
        else:
            read = lambda start, stop: nullcontext(source.read(start, stop))  # noqa: E731
        yield from ahead(read_and_score, batches, AHEAD * threads, threads)


def columns(batches: Sequence[Batch]) -> dict[str, Any]:
    """What a part holds of these batches; see `orchestrator.reports.scorefile`."""
    rows = [row for batch in batches for row in batch.rows]
    logits, probabilities = np.concatenate([batch.scores for batch in batches], axis=1)
    return {
        "id": [row.id for row in rows],
        "path": [row.path for row in rows],
        "logit": logits,
        "probability": probabilities,
        "ra": [row.ra for row in rows],
        "dec": [row.dec for row in rows],
        "masked": [row.masked for row in rows],
        "flags": [",".join(row.flags) for row in rows],
        "reason": [row.reason or None for row in rows],
    }


def candidates(model: Model, source: Source, out: Path, count: int) -> str:
    """The best of a whole file of scores as a page with their pictures, read again from the source."""

    def candidate(row: dict[str, Any]) -> Candidate:
        place = "" if math.isnan(row["ra"]) else f"{row['ra']:.5f} {row['dec']:+.5f}"
        lines = (f"{row['rank']}: probability {row['probability']:.4f}", f"logit {row['logit']:.3f}", place)
        piece = source.read(row["row"], row["row"] + 1)
        return Candidate(row["id"], piece.flux[0] if len(piece.flux) else None, tuple(filter(None, lines)))

    rows = best(out, count)
    note = f"{len(rows):,} of {len(source):,} cutouts, scored with {model.version}; positions in degrees"
    return page(f"The best candidates of {out.name}", note, map(candidate, rows), model.set)


def _first(source: Source) -> NDArray[np.float32] | None:
    """The first cutouts that can be scored; None where there are none."""
    pieces = (source.read(start, min(start + BATCH, len(source))) for start in range(0, len(source), BATCH))
    return next((piece.flux for piece in pieces if len(piece.flux)), None)


def _readers(device: torch.device, cores: int, objects: int) -> int:
    """How many processes read; none where few threads keep all cores busy, or where there is little to read."""
    if not AVAILABLE or cores <= WORKERS or objects < MANY:
        return 0
    return cores // 4 if device.type == "cpu" else cores  # a network takes three times as long as reading, and more


def _on(device: torch.device, flux: Tensor) -> Tensor:
    """Copied to a GPU from memory that it reads by itself, while threads go on."""
    return flux.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else flux.to(device)


def _size(device: torch.device) -> int:
    return BATCH if device.type == "cpu" else GPU_BATCH


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Let each worker's network compute in so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
