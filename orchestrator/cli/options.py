"""Options that several commands have."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from orchestrator.studies.cluster import Node

tracking_uri = click.option(
    "--tracking-uri", metavar="URI", help="MLflow store.  [default: MLFLOW_TRACKING_URI, then sqlite:///mlflow.db]"
)
storage = click.option(
    "--storage",
    metavar="URL",
    default="sqlite:///optuna.db",
    envvar="OPTUNA_STORAGE",
    show_default=False,
    help="Optuna storage.  [default: OPTUNA_STORAGE, then sqlite:///optuna.db]",
)
device = click.option("--device", metavar="NAME", help="cuda, mps or cpu.  [default: the best there is]")
engine = click.option(
    "--engine", type=click.Choice(["local", "ray"]), default="local", help="Where workers are started."
)
address = click.option(
    "--address", metavar="ADDRESS", help="Of the Ray cluster: auto, HOST:PORT or ray://HOST:PORT.  [default: auto]"
)
max_bad = click.option(
    "--max-bad",
    type=click.FloatRange(0, 1),
    default=0.01,
    help="Share of the cutouts that may be unreadable; they are named and left out.",
)
prevalence = click.option(
    "--prevalence",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Share of lenses on the sky, such as 1e-3.",
)


def whole(option: str, text: str) -> int:
    """A whole number; `mlflow run` may write it as 32.0."""
    try:
        number = float(text)
    except ValueError:
        number = 0.5
    if not number.is_integer():
        raise click.BadParameter(f"'{text}' is not a whole number", param_hint=option)
    return int(number)


def counts(option: str, text: str) -> list[int]:
    """Epoch counts with commas between them, ascending."""
    found = sorted({whole(option, each) for each in text.split(",")})
    if found[0] < 1:
        raise click.BadParameter(f"{found[0]}: counts from 1 on are expected", param_hint=option)
    return found


def free(host: str, port: int, option: str = "--port") -> None:
    """Refuse an address that cannot be listened on, before the work that a server begins with."""
    try:
        kind, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # else a port just left would count as taken
            probe.bind(address)
    except OSError as error:
        raise click.BadParameter(f"{host}:{port}: {error.strerror}; choose another", param_hint=option) from None


def connected(engine: str, of_ray: Mapping[str, object]) -> list[Node]:
    """The nodes of the Ray cluster, which stays connected until the command ends; none for another engine.

    Args:
        engine: as given.
        of_ray: options that say something of it, `--address` among them, and what was given.
    """
    if engine == "ray":
        from orchestrator.studies import cluster

        return click.get_current_context().with_resource(cluster.connected(str(of_ray["--address"] or "auto")))
    for option, value in of_ray.items():
        if value is not None:
            raise click.UsageError(f"{option} is of Ray (allowed with --engine ray)")
    return []
