"""One training with all that watches it: records, checkpoints, and a row at each epoch count."""

from __future__ import annotations

import contextlib
import functools
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from torch import nn

from orchestrator.data.cutouts import Cutouts
from orchestrator.data.splits import OFFICIAL, Split, split
from orchestrator.data.whole import PARTIAL
from orchestrator.errors import DataError, RecipeError
from orchestrator.learning.batches import Batches
from orchestrator.learning.inference import score
from orchestrator.learning.metrics import cross_entropy, measure
from orchestrator.learning.ranks import joined
from orchestrator.learning.recipe import Recipe
from orchestrator.learning.training import Epoch, Training, begin, restore, save, train
from orchestrator.studies.bench import Bench
from orchestrator.studies.row import record
from orchestrator.tracking import artifacts, records, runs, store

CHECKPOINTS = Path("checkpoints")
"""Of trainings that are under way."""

CHECKPOINT = "checkpoint.pt"
"""Attached to the run of a training at each count, so that it can go on from there elsewhere, or be extended."""

SAVE_EVERY = 30.0
"""Seconds of training that a kill may cost."""

STORE = "store"
"""Note in a checkpoint: the store that its run is in, for whoever finds it under another."""

UNRECORDED = "unrecorded"
"""Note in a checkpoint: the metrics of epochs, by number, that the tracking store may not have."""


def run(
    recipe: Recipe,
    counts: Sequence[int],
    bench: Bench,
    parent: str | None,
    name: str,
    *,
    extends: str | None = None,
    stop: Callable[[Epoch], bool] = lambda epoch: False,
) -> Generator[Epoch, None, None]:
    """Train, and record a row at each epoch count.

    It goes on from where the same recipe was interrupted or stopped, on the same data in the same study; of what was
    trained to its end before, the last epoch is yielded and nothing is done. Where a store fails, or whoever watches,
    the checkpoint keeps all epochs that are done, with what could not be recorded of them.

    Args:
        recipe: of the training.
        counts: the epochs that get a row.
        bench: what it shares with others.
        parent: run to record it below.
        name: of its run.
        extends: run of a finished training of the same recipe but for its fewer epochs, to go on from.
        stop: asked after each epoch whether to stop for now; a checkpoint is kept.

    Raises:
        RecipeError: the network does not take the cutouts, or diverges.
        DataError: the set has too few objects of a class.
        Unreachable: a process that trains together with this one was killed.
    """
    with _alone(_checkpoint(recipe, bench), name):
        parts = _parts(recipe, bench, bench.cutouts[recipe.normalisation])
        training, known, notes = _resume(recipe, bench, bench.cutouts[recipe.normalisation], extends)
        trial = _Trial(recipe, counts, bench, parts, training)
        batches = trial.batches()
        trial.run_id = known or runs.begin(bench.experiment, "trial", name, parent=parent, study=bench.study)
        with runs.running(trial.run_id):
            if known is None:
                trial.describe(extends)
            catch_up(trial.run_id, notes)
            recorded = records.last_epoch(trial.run_id)
            before = trial.again(recorded)
            if before is not None and (before.number == recipe.epochs or stop(before)):  # it was done before
                yield before
            else:
                with joined(training, batches, bench.gpus) as share:
                    yield from _epochs(trial, share, recorded, stop)
            trial.attach()
        trial.clear()


def _epochs(
    trial: _Trial, batches: Batches, recorded: int, stop: Callable[[Epoch], bool]
) -> Generator[Epoch, None, None]:
    """Train on, and keep what is done at each epoch; `recorded` is the last one that the tracking store has."""
    saved = time.monotonic()
    for epoch in train(trial.training, batches.epoch, trial.recipe.epochs, trial.validate):
        metrics = {"loss": epoch.loss, "seconds": epoch.seconds, **epoch.metrics}
        try:
            if epoch.number > recorded:
                runs.log_metrics(trial.run_id, metrics, epoch.number)
            if epoch.number in (*trial.counts, trial.recipe.epochs) or time.monotonic() - saved > SAVE_EVERY:
                trial.keep()
                saved = time.monotonic()
            if epoch.number in trial.counts:
                trial.attach()  # first: a row is of what can be gone on with
                trial.record(epoch)
            yield epoch
        except BaseException:
            trial.keep({UNRECORDED: {epoch.number: metrics}})
            raise
        if stop(epoch):
            return


@dataclass
class _Trial:
    """A training with what it is done on, and its run."""

    recipe: Recipe
    counts: Sequence[int]
    bench: Bench
    parts: Split
    training: Training
    run_id: str = ""
    attached: int = 0
    """The epoch whose checkpoint this process attached last."""

    @property
    def cutouts(self) -> Cutouts:
        return self.bench.cutouts[self.recipe.normalisation]

    @property
    def checkpoint(self) -> Path:
        return _checkpoint(self.recipe, self.bench, self.run_id)

    def batches(self) -> Batches:
        """What it is trained on.

        Raises:
            RecipeError: a setting of it is none.
        """
        cutouts, recipe = self.cutouts, self.recipe
        return Batches(
            cutouts.pixels,
            cutouts.labels,
            self.parts.train,
            recipe.batch_size,
            self.bench.device,
            recipe.augment,
            recipe.seed,
            recipe.strength,
        )

    def validate(self, network: nn.Module) -> Mapping[str, float]:
        """The metrics on the objects for validation."""
        rows = self.parts.validation
        logits, labels = score(network, self.cutouts.pixels, self.bench.device, rows=rows), self.cutouts.labels[rows]
        metrics = {**measure(labels, logits), "loss": cross_entropy(labels, logits)}
        return {f"val_{key}": value for key, value in metrics.items()}

    def describe(self, extends: str | None) -> None:
        """Put on record what it is, and the objects that it is trained and tested on."""
        trained, tested = np.concatenate([self.parts.train, self.parts.validation]), self.bench.tested(self.recipe)
        rows = self.bench.tested_rows(self.recipe, self.parts)
        artifacts.log_objects(self.run_id, "trained_on.npz", self.cutouts.objects(trained))
        artifacts.log_objects(self.run_id, "tested_on.npz", tested.objects(rows))
        bench = self.bench
        runs.log_training(self.run_id, self.recipe, self.cutouts, tested, bench.device, bench.gpus, extends)

    def again(self, recorded: int) -> Epoch | None:
        """The epoch that it was at before, with its row, which may be what could not be recorded; None of none."""
        if not 0 < self.training.epoch <= recorded:
            return None
        before = records.epoch(self.run_id, self.training.epoch)
        if before is not None and self.training.epoch in self.counts:
            self.record(before)
        return before

    def record(self, epoch: Epoch) -> None:
        """Record the row of an epoch."""
        record(self.training, epoch, self.bench, self.parts, self.run_id, self.validate)

    def keep(self, notes: Mapping[str, Any] | None = None) -> None:
        """Write the checkpoint."""
        save(self.training, self.checkpoint, {"run_id": self.run_id, STORE: store.known_as(), **(notes or {})})

    def attach(self) -> None:
        """Attach the checkpoint, if there is one that was not."""
        if self.attached != self.training.epoch and self.checkpoint.exists():
            artifacts.log_file(self.run_id, self.checkpoint, CHECKPOINT)
            self.attached = self.training.epoch

    def clear(self) -> None:
        """Remove the checkpoint, and half ones of processes that were killed at it."""
        self.checkpoint.unlink(missing_ok=True)
        for half in self.checkpoint.parent.glob(f"{self.checkpoint.name}.*{PARTIAL}"):
            half.unlink(missing_ok=True)


def unrecorded(run_id: str, notes: Mapping[str, Any]) -> dict[int, dict[str, float]]:
    """What a checkpoint has of the epochs of its run that the tracking store has not: number → metrics."""
    last = records.last_epoch(run_id)
    return {number: metrics for number, metrics in notes.get(UNRECORDED, {}).items() if number > last}


def catch_up(run_id: str, notes: Mapping[str, Any]) -> None:
    """Record it."""
    for number, metrics in unrecorded(run_id, notes).items():
        runs.log_metrics(run_id, metrics, number)


def set_aside(path: Path) -> Path:
    """Move a file that is no checkpoint to where nothing reads it, and return where that is."""
    return path.replace(path.with_name(f"{path.name}.broken"))


def _checkpoint(recipe: Recipe, bench: Bench, run_id: str | None = None) -> Path:
    """Named for all that decides the rows of a training, and its run: in another store it has another."""
    decides = (recipe.digest, bench.data_digest, bench.test_digest, run_id)
    return CHECKPOINTS / bench.study / f"{'-'.join(filter(None, decides))}.pt"


def _checkpoints(recipe: Recipe, bench: Bench) -> list[Path]:
    """Of this training in any store; earlier their names were without the run."""
    path = _checkpoint(recipe, bench)
    return sorted(each for end in ("", f"-{'?' * 32}") for each in path.parent.glob(f"{path.stem}{end}.pt"))


@contextlib.contextmanager
def _alone(checkpoint: Path, name: str) -> Iterator[None]:
    """Be the only process that does a training; another one is waited for, and what it did is not done again."""
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(checkpoint.with_suffix(".lock"))
    try:
        lock.acquire(blocking=False)
    except Timeout:
        sys.stderr.write(f"{name} is being trained by another process; waiting for it\n")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _resume(
    recipe: Recipe, bench: Bench, cutouts: Cutouts, extends: str | None
) -> tuple[Training, str | None, dict[str, Any]]:
    """A training where it was interrupted or stopped, its run, and the notes of its checkpoint.

    Else a new one, or one that goes on from another; in the run that has its epochs so far, if there is one.
    """
    begun = functools.partial(begin, recipe, cutouts.pixels.shape[1], cutouts.pixels.shape[-1], bench.device)
    training, known = begun(), None
    if not runs.attached():
        known = records.find_training(bench.study, recipe, bench.data_digest, bench.test_digest)
        for checkpoint in _checkpoints(recipe, bench):
            try:
                notes = restore(training, checkpoint)
            except FileNotFoundError:  # another machine has finished or moved it since it was listed
                continue
            except RecipeError as error:
                sys.stderr.write(f"{error}; kept as {set_aside(checkpoint).name}, and done without\n")
                run_id, training = checkpoint.stem.rpartition("-")[2], begun()
                known = known or (run_id if records.exists(run_id) else None)
                continue
            run_id = str(notes["run_id"])
            if records.exists(run_id):  # else it is of another store, or was deleted since
                with contextlib.suppress(FileNotFoundError):
                    checkpoint.replace(_checkpoint(recipe, bench, run_id))
                return training, run_id, notes
            training = begun()
    if known and artifacts.has(known, CHECKPOINT):
        try:
            _restore_attached(training, known)
        except RecipeError as error:
            sys.stderr.write(f"{error}; done without\n")
            training = begun()
        else:
            return training, known, {}
    if extends:
        _restore_attached(training, extends)
    return training, known, {}


def _restore_attached(training: Training, run_id: str) -> None:
    """Put the state of a run's checkpoint into a training.

    Raises:
        RecipeError: it cannot be read.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = artifacts.download(run_id, CHECKPOINT, Path(folder))
        try:
            restore(training, path)
        except RecipeError as error:
            raise RecipeError(str(error).replace(str(path), f"{CHECKPOINT} of run {run_id}")) from None


def _parts(recipe: Recipe, bench: Bench, cutouts: Cutouts) -> Split:
    if recipe.split == OFFICIAL and bench.test is None:
        raise RecipeError("split 'official' needs a set to test on (--test-data)")
    labels = cutouts.labels
    parts = split(labels, recipe.split, recipe.splitting)
    for part, rows in (("training", parts.train), ("validation", parts.validation)):
        for label, kind in ((1, "lenses"), (0, "non-lenses")):
            if not (labels[rows] == label).any():
                raise DataError(
                    f"{cutouts.root}: no {kind} for {part}: {int((labels == 1).sum())} lenses and"
                    f" {int((labels == 0).sum())} non-lenses are labelled, and split {recipe.split} takes some of each"
                )
    return parts
