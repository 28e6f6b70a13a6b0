"""Requests for scores wait in line for one thread: the device computes one batch at a time.

It is this thread that reads the cutouts too, so that no more is unpacked than is about to be scored.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from threading import Thread
from typing import NamedTuple

import numpy as np
import torch
from pydantic import BaseModel

from orchestrator.data.quality import judge
from orchestrator.data.uploads import Sent
from orchestrator.learning.finder import find
from orchestrator.learning.inference import BATCH
from orchestrator.tracking.models import Model


class Score(BaseModel):
    """What is said of one object: its scores, or why there are none."""

    id: str
    logit: float | None = None
    probability: float | None = None
    masked: int | None = None
    flags: list[str] = []
    bad: str | None = None


class Job(NamedTuple):
    """A request that waits: how it is read, and where its scores are expected."""

    read: Callable[[], list[Sent]]
    scores: Future[list[Score]]


class Line:
    """One thread that reads and scores what waits; small requests that wait together are scored together."""

    def __init__(self, model: Model, device: torch.device) -> None:
        self._model, self._device = model, device
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._thread = Thread(target=self._work, name="scoring")
        self._thread.start()

    def add(self, read: Callable[[], list[Sent]]) -> Future[list[Score]]:
        """Wait in line; what `read` raises is what the future raises."""
        job = Job(read, Future())
        self._jobs.put(job)
        return job.scores

    def close(self) -> None:
        """Finish what waits, and end."""
        self._jobs.put(None)
        self._thread.join()

    def _work(self) -> None:
        job = self._jobs.get()
        while job is not None:
            together: list[tuple[Job, list[Sent]]] = []
            while job is not None:
                if job.scores.set_running_or_notify_cancel():
                    try:
                        together.append((job, job.read()))
                    except Exception as error:
                        job.scores.set_exception(error)
                if self._jobs.empty() or sum(len(sent) for _, sent in together) >= BATCH:
                    break
                job = self._jobs.get()
            self._score(together)
            if job is not None:
                job = self._jobs.get()

    def _score(self, together: list[tuple[Job, list[Sent]]]) -> None:
        try:
            scores = iter(score([each for _, sent in together for each in sent], self._model, self._device))
        except Exception as error:
            for job, _ in together:
                job.scores.set_exception(error)
            return
        for job, sent in together:
            job.scores.set_result([next(scores) for _ in sent])


def score(sent: Sequence[Sent], model: Model, device: torch.device) -> list[Score]:
    """Score what can be scored, and say of the rest why not; in the order it was sent."""
    whole = [each.flux for each in sent if each.flux is not None]
    judged = judge(np.stack(whole), [band.name for band in model.set.bands]) if whole else []
    good = [flux for flux, quality in zip(whole, judged, strict=True) if not quality.bad]
    found = iter(zip(*find(model.finder, np.stack(good), device), strict=True) if good else [])
    qualities = iter(judged)
    scores = []
    for each in sent:
        if each.flux is None:
            scores.append(Score(id=each.id, bad=each.bad))
            continue
        quality = next(qualities)
        masked, flags = sum(quality.masked), list(quality.flags)
        if quality.bad:
            scores.append(Score(id=each.id, masked=masked, flags=flags, bad=f"{each.id}: {quality.bad}"))
        else:
            logit, probability = next(found)
            scores.append(Score(id=each.id, logit=logit, probability=probability, masked=masked, flags=flags))
    return scores
