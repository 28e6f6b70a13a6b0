"""Scores on a Ray cluster: its nodes read and score whole parts, and this process writes them."""

from __future__ import annotations

import os
import platform
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from orchestrator.data import sources
from orchestrator.data.fits import Unit
from orchestrator.data.sources import Source
from orchestrator.errors import StudyError
from orchestrator.learning import devices
from orchestrator.reports.scorefile import Parts
from orchestrator.studies.cluster import Share
from orchestrator.studies.cluster_launcher import LIVES, TAKEN_ALONG, pause
from orchestrator.studies.scoring import at, columns, scored
from orchestrator.tracking import models, store


@dataclass(frozen=True)
class Order:
    """What each node finds for itself, and by what it tells that it found the same.

    Attributes:
        model: URI of the model.
        tracking_uri: where it is.
        data: see `orchestrator.data.sources.find`.
        units: likewise.
        resize: likewise.
        prevalence: see `orchestrator.studies.scoring.at`.
        digests: of the model and of the source.
    """

    model: str
    tracking_uri: str = field(repr=False)
    data: Path
    units: tuple[Unit, ...]
    resize: bool
    prevalence: float | None
    digests: tuple[str, str]


@dataclass
class Scorer:
    """A node's model and source, which are found when the first part is scored."""

    order: Order
    folder: Path
    environment: Mapping[str, str] = field(repr=False)

    def score(self, part: range) -> dict[str, Any]:
        """The columns of a part."""
        model, source, device = self._found
        return columns(list(scored(model, source, device, [part])))

    @cached_property
    def _found(self) -> tuple[models.Model, Source, torch.device]:
        order, host = self.order, platform.node()
        if not self.folder.is_dir():
            raise StudyError(f"{self.folder}: no such folder on {host}: it has to be on every node of the cluster")
        os.chdir(self.folder)
        os.environ |= self.environment
        device = devices.choose()
        store.connect(order.tracking_uri)
        model = at(models.load(order.model, device), order.model, order.prevalence)
        source = sources.find(order.data, model.set, order.units, resize=order.resize)
        if (model.digest, source.digest()) != order.digests:
            raise StudyError(f"{order.data}, or {order.model}, is another one on {host}")
        return model, source, device


def score(order: Order, share: Share, kept: Parts, tell: Callable[[str], None]) -> Iterator[int]:
    """Score what is missing on the cluster that this process is connected to; yields how many objects are done.

    Args:
        order: what is scored, and with what.
        share: how many nodes or GPUs there are, and what each gets.
        kept: where the parts are written, by this process alone.
        tell: called with a line when a scorer died.

    Raises:
        StudyError: scorers died too often. What else a scorer raises, this does too.
    """
    import ray
    from ray.exceptions import RayError, RayTaskError

    threads = {"OMP_NUM_THREADS": str(share.cpus), **({} if share.gpus else {"CUDA_VISIBLE_DEVICES": ""})}
    actor: Any = ray.remote(num_cpus=share.cpus, num_gpus=share.gpus, runtime_env={"env_vars": threads})(Scorer)
    environment = {key: value for key, value in os.environ.items() if key.startswith(TAKEN_ALONG)}
    missing = deque(kept.missing())
    done, deaths = kept.objects - sum(map(len, missing)), 0
    yield done
    running: dict[Any, tuple[Any, range, str]] = {}

    def begin(scorer: Any = None) -> None:
        scorer = scorer or actor.remote(order, Path.cwd(), environment)
        part = missing.popleft()
        state = kept.state_of(part)  # before its first file is read
        running[scorer.score.remote(part)] = scorer, part, state

    for _ in range(min(share.tasks, len(missing))):
        begin()
    while running:
        (ended,), _ = ray.wait(list(running))
        scorer, part, state = running.pop(ended)
        try:
            found = ray.get(ended)
        except RayTaskError as error:
            raise error.cause from None
        except RayError as error:
            reason = " ".join(str(error).split()).partition(". ")[0] or type(error).__name__
            deaths += 1
            if deaths > LIVES * share.tasks:
                raise StudyError(f"{deaths} scorers died, the last one so: {reason}") from None
            tell(f"A scorer is replaced: {reason}.")
            time.sleep(pause(deaths))
            missing.appendleft(part)
            begin()
            continue
        kept.write(part, found, state)
        done += len(part)
        yield done
        if missing:
            begin(scorer)
        del scorer  # with its last reference it ends, and makes room for one in the place of another that died
