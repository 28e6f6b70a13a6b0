"""The command line: parse, call one function, print. What is heavy is imported inside the commands."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
from typing import Any, NoReturn

import click

from orchestrator import __version__
from orchestrator.cli.calibrate import calibrate
from orchestrator.cli.compare import compare
from orchestrator.cli.data import data
from orchestrator.cli.doctor import doctor
from orchestrator.cli.ensemble import ensemble
from orchestrator.cli.evaluate import evaluate
from orchestrator.cli.export import export
from orchestrator.cli.features import features
from orchestrator.cli.metrics import metrics
from orchestrator.cli.quickstart import quickstart
from orchestrator.cli.registry import registry
from orchestrator.cli.report import report
from orchestrator.cli.studies import studies, table
from orchestrator.cli.sweep import extend, sweep, worker
from orchestrator.cli.train import train
from orchestrator.cli.ui import ui
from orchestrator.errors import OrchestratorError

STOPPED = 130
"""Exit status after Ctrl-C, as shells have it."""

SPINS = "10000"
"""How long threads of torch wait for each other before they let others run; without end, other work on the machine's
cores makes an epoch ten times as long."""


class _Refusal(click.ClickException):
    """One line for the user; the exit status is that of a wrong option."""

    exit_code = 2


def _stop(number: int, frame: object) -> NoReturn:
    """End as Ctrl-C would: Slurm and Kubernetes ask a process to end before they kill it."""
    raise KeyboardInterrupt


def _of_a_store(error: BaseException) -> bool:
    """Whether a database, a server or a disk failed, and not this program."""
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return full or type(error).__module__.startswith(("mlflow.", "sqlalchemy.", "sqlite3", "psycopg", "requests."))


class _Orchestrator(click.Group):
    def invoke(self, context: click.Context) -> Any:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)  # read when torch is loaded, by the command
        with contextlib.suppress(ValueError):  # only the main thread may
            signal.signal(signal.SIGTERM, _stop)
        try:
            return super().invoke(context)
        except OrchestratorError as error:
            raise _Refusal(str(error)) from None
        except Exception as error:
            if not _of_a_store(error):
                raise
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise _Refusal(f"{reason}\nWhat was done is kept; the same command goes on from here.") from None
        except KeyboardInterrupt:
            click.echo("\nStopped. The same command goes on from here.", err=True)
            context.exit(STOPPED)


@click.group(cls=_Orchestrator, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(__version__)
def main() -> None:
    """Train, sweep, compare and promote networks that find strong gravitational lenses.

    Begin with `orchestrator quickstart`.
    """


for command in (
    *(quickstart, data, train, sweep, worker, extend, table, compare, report, studies, doctor),
    *(registry, ensemble, calibrate, evaluate, export, metrics, features, ui),
):
    main.add_command(command)
