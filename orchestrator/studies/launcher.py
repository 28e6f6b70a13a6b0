"""Starts the workers of a study on this machine, and others in the place of those that die."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import IO

import torch

from orchestrator.errors import AWAY, REFUSED, StudyError

LIVES = 5
"""How often a worker is replaced that dies of something else than a refusal."""

REST = 10.0
"""Seconds until a worker is replaced that a store kept from its work."""

LAST_WORDS = 3
"""Lines of a worker that fails which are told, where its others are not."""

LOOK = 0.5
"""Seconds between looks at the workers."""


def launch(
    options: Mapping[str, str],
    stores: Mapping[str, str],
    count: int,
    device: torch.device,
    show: Callable[[], None] | None,
) -> None:
    """Run workers until nothing is left to begin.

    They are processes of their own: if this one is killed, they go on, and a second launcher shares the work with them.

    Args:
        options: of `orchestrator worker`.
        stores: where they are, as variables of the environment: all users of a machine may read a command's options,
            and a store's address may hold a password.
        count: how many at a time.
        device: that was chosen; several GPUs are shared out, and so are the cores.
        show: called now and then, to show how far they are; what they say themselves is then kept back, but for the
            last words of one that fails.

    Raises:
        StudyError: a worker refused to work, or died too often.
    """
    due = dict.fromkeys(range(count), 0.0)  # number of a worker that is to be started → when
    workers: dict[int, subprocess.Popen[bytes]] = {}
    files = ExitStack()
    said = {
        number: files.enter_context(tempfile.TemporaryFile()) if show else None  # noqa: SIM115 (the stack closes it)
        for number in due
    }
    deaths: Counter[int] = Counter()
    try:
        while due or workers:
            for number in [each for each, at in due.items() if at <= time.monotonic()]:
                del due[number]
                workers[number] = _start(options, stores, number, count, device, said[number])
            time.sleep(LOOK)
            if show:
                show()
            for number, worker in list(workers.items()):
                status = worker.poll()
                if status is None:
                    continue
                del workers[number]
                if status != 0:
                    _last_words(said[number])
                if status == REFUSED:
                    raise StudyError("a worker refused to work, for the reason it told above")
                if status != 0:
                    deaths[number] += 1
                    if deaths[number] > LIVES:
                        raise StudyError(f"a worker died {deaths[number]} times, at last with status {status}")
                    due[number] = time.monotonic() + (REST if status == AWAY else 0)
    finally:
        for worker in workers.values():
            worker.terminate()
        for worker in workers.values():
            worker.wait()
        files.close()


def _last_words(said: IO[bytes] | None) -> None:
    if said:
        said.seek(0)
        sys.stderr.write("\n".join(said.read().decode(errors="replace").splitlines()[-LAST_WORDS:]) + "\n")
        said.truncate(0)


def _start(
    options: Mapping[str, str],
    stores: Mapping[str, str],
    number: int,
    count: int,
    device: torch.device,
    said: IO[bytes] | None,
) -> subprocess.Popen[bytes]:
    environment = {**{key: value for key, value in os.environ.items() if key != "MLFLOW_RUN_ID"}, **stores}
    environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    if device.type == "cuda" and device.index is None:
        visible = environment.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(torch.cuda.device_count())))
        devices = visible.split(",")
        environment["CUDA_VISIBLE_DEVICES"] = devices[number % len(devices)]
    words = [word for pair in options.items() for word in pair]
    return subprocess.Popen([sys.executable, "-m", "orchestrator", "worker", *words], env=environment, stderr=said)
