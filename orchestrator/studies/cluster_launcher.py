"""Starts the workers of a study as tasks of a Ray cluster, and others in the place of those that die."""

from __future__ import annotations

import os
import platform
import signal
import time
import uuid
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from orchestrator.errors import StudyError
from orchestrator.studies.cluster import Share

LIVES = 3
"""How often each worker is replaced that dies of something else than a refusal."""

FAREWELL = 30.0
"""Seconds that workers have to give back their trials when the sweep is interrupted."""

TAKEN_ALONG = ("AWS_", "GOMP_", "MLFLOW_", "PG")
"""What variables begin with that say how to come at the stores, and how threads wait."""


def launch(
    work: Callable[[], None], share: Share, reap: Callable[[Collection[str]], None], tell: Callable[[str], None]
) -> None:
    """Run workers in the cluster that this process is connected to until nothing is left to begin.

    Ray could start a task again by itself, but would not tell: whoever knows that a worker is dead has to give back
    what it was at, on whatever machine that was.

    Args:
        work: what each does; it is looked up by its name there.
        share: how many there are, and what each gets.
        reap: gives back what workers of these names left.
        tell: called with a line when one died.

    Raises:
        StudyError: a worker refused to work, or died too often. What else a worker raises, this does too.
    """
    import ray
    from ray.exceptions import RayError, RayTaskError

    threads = {"OMP_NUM_THREADS": str(share.cpus)}
    hidden = {} if share.gpus else {"CUDA_VISIBLE_DEVICES": ""}
    task: Any = ray.remote(
        num_cpus=share.cpus,
        num_gpus=share.gpus,
        max_retries=0,
        max_calls=1,  # a process of its own, which frees the device's memory when it ends
        runtime_env={"env_vars": {**threads, **hidden}},
    )(worker)
    environment = {key: value for key, value in os.environ.items() if key.startswith(TAKEN_ALONG)}
    environment.pop("MLFLOW_RUN_ID", None)
    running: dict[Any, tuple[str, int]] = {}

    def start(deaths: int) -> None:
        name = uuid.uuid4().hex
        running[task.remote(work, Path.cwd(), {**environment, "ORCHESTRATOR_WORKER": name})] = (name, deaths)

    try:
        for _ in range(share.tasks):
            start(deaths=0)
        while running:
            (ended,), _ = ray.wait(list(running))
            name, deaths = running.pop(ended)
            try:
                ray.get(ended)
            except RayTaskError as error:
                raise error.cause from None
            except RayError as error:
                reap([name])
                reason = " ".join(str(error).split()).partition(". ")[0] or type(error).__name__
                if deaths == LIVES:
                    raise StudyError(f"a worker died {deaths + 1} times, the last time so: {reason}") from None
                tell(f"A worker is replaced: {reason}.")
                time.sleep(pause(deaths))
                start(deaths + 1)
    finally:
        if running:
            for each in running:
                ray.cancel(each)
            _, deaf = ray.wait(list(running), num_returns=len(running), timeout=FAREWELL)
            for each in deaf:
                ray.cancel(each, force=True)
            reap([name for name, _ in running.values()])


def pause(deaths: int) -> float:
    """Seconds to leave before the next try: a cluster sends work to a lost node until it has noticed."""
    return float(min(2**deaths, 30))


def worker(work: Callable[[], None], folder: Path, environment: Mapping[str, str]) -> None:
    """Work in a folder: the task."""
    with suppress(ValueError):  # what was started in the background is deaf to it, and then to `ray.cancel`
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if not folder.is_dir():
        raise StudyError(
            f"{folder}: no such folder on {platform.node()}: the directory that a sweep is started in holds its data"
            " and checkpoints, and has to be there on every node of the cluster, as on a shared file system"
        )
    os.chdir(folder)
    os.environ |= environment
    work()
