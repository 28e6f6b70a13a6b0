"""Connects to a Ray cluster, and says how its nodes can be shared out."""

from __future__ import annotations

import logging
import os
import platform
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import orchestrator
from orchestrator.errors import StudyError
from orchestrator.tracking.store import database

PATIENCE = 10
"""Seconds in which a cluster has to answer: Ray's own patience is minutes, and may end in a crash."""

TOLD_BY_US = "Raylet is terminated|The node with node id|A worker died or was killed"
"""How Ray begins to tell, in dozens of lines, that it lost a node or a worker."""

QUIET = {
    "RAY_COLOR_PREFIX": "0",
    "RAY_DEDUP_LOGS_ALLOW_REGEX": rf"\A(?!{TOLD_BY_US})",  # epochs of two trainings are no repeated message
    "RAY_DEDUP_LOGS_SKIP_REGEX": rf"\A({TOLD_BY_US})",
}
"""How Ray passes on what tasks print; it reads this when it is imported."""

PROBE = """
import ray, sys
try:
    ray.init(sys.argv[1], log_to_driver=False, logging_level="ERROR")
except Exception as error:
    sys.exit(" ".join(str(error).split()))
"""


@dataclass(frozen=True)
class Node:
    """A machine of a cluster, or a part of one: its host's name, and what it has."""

    host: str
    cpus: int
    gpus: int


@dataclass(frozen=True)
class Share:
    """How many tasks there are, and what each of them gets."""

    tasks: int
    cpus: int
    gpus: float


@contextmanager
def connected(address: str) -> Iterator[list[Node]]:
    """Give the living nodes of a cluster, and let this process start tasks there for as long as the work goes on.

    Args:
        address: ``auto`` for the one that this machine is part of, HOST:PORT, or ray://HOST:PORT.

    Raises:
        StudyError: Ray is not installed, or no cluster answers there.
    """
    os.environ |= QUIET
    try:
        import ray
    except ImportError:
        raise StudyError("Ray is not installed: it is an extra, lens-orchestrator[ray]") from None
    _reach(address)
    ours = signal.getsignal(signal.SIGTERM)
    python_path = [str(Path(orchestrator.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {"env_vars": {"PYTHONPATH": os.pathsep.join(python_path)}}
    try:
        with warnings.catch_warnings(action="ignore"):
            ray.init(address, runtime_env=environment, logging_level=logging.ERROR)
        signal.signal(signal.SIGTERM, ours)  # Ray has put its own in the place
        yield [
            Node(each["NodeManagerHostname"], *(int(each["Resources"].get(kind, 0)) for kind in ("CPU", "GPU")))
            for each in ray.nodes()  # type: ignore[no-untyped-call]
            if each["Alive"]
        ]
    finally:
        ray.shutdown()


def share_out(nodes: Sequence[Node], tasks: int | None, gpus: float | None) -> Share:
    """Give each task as many processors as it can have beside the others.

    Args:
        nodes: of the cluster.
        tasks: how many; by default as many as there are GPUs for, or else processors.
        gpus: that each needs, a share of one or several; by default one where there are any.

    Raises:
        StudyError: no node will ever do.
    """
    if gpus is None:
        gpus = float(any(node.gpus for node in nodes))
    if gpus > 1 and not gpus.is_integer():
        raise StudyError(f"--gpus-per-trial {gpus:g}: a share of one GPU (as 0.5) or a whole number is expected")

    def room(cpus: int) -> int:
        return sum(min(node.cpus // cpus, _shares(node.gpus, gpus) if gpus else node.cpus) for node in nodes)

    if room(1) == 0:
        there = "; ".join(f"{node.host}: {node.gpus} GPUs, {node.cpus} CPUs" for node in nodes)
        raise StudyError(f"--gpus-per-trial {gpus:g}: no node has as many, and a CPU beside them (there are {there})")
    tasks = tasks or room(1)
    most = max(node.cpus for node in nodes)
    return Share(tasks, max((cpus for cpus in range(1, most + 1) if room(cpus) >= tasks), default=1), gpus)


def refuse_sqlite(nodes: Sequence[Node], storage: str, tracking_uri: str) -> None:
    """See to it that no store is a file where nodes are on other machines.

    Raises:
        StudyError: one is.
    """
    others = sorted({node.host for node in nodes} - {platform.node()})
    for url in (storage, tracking_uri):
        if others and database(url):
            raise StudyError(
                f"{url}: SQLite is not safe over several machines, and the cluster is on {', '.join(others)} too"
                " (allowed: --storage postgresql://… and --tracking-uri http://…)"
            )


def _shares(there: int, needed: float) -> int:
    """How many times a number of GPUs, or a share of one, can be had."""
    return there * int(1 / needed + 1e-9) if needed < 1 else there // int(needed)


def _reach(address: str) -> None:
    """Connect in a process that can be ended."""
    command = [sys.executable, "-c", PROBE, address]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        raise StudyError(f"--address {address}: no Ray cluster answers there within {PATIENCE} s") from None
    if done.returncode:
        reason = (done.stderr.splitlines() or [f"Ray ended with status {done.returncode}"])[-1]
        raise StudyError(f"--address {address}: cannot connect to a Ray cluster: {reason}")
