"""The command line: parse, call one function, print. What is heavy is imported inside the commands."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import traceback
from types import TracebackType
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
from orchestrator.cli.score import score
from orchestrator.cli.serve import serve
from orchestrator.cli.studies import studies, table
from orchestrator.cli.sweep import extend, sweep, worker
from orchestrator.cli.train import train
from orchestrator.cli.ui import ui
from orchestrator.errors import AWAY, REFUSED, OrchestratorError, Unreachable, without_password

STOPPED = 130
"""Exit status after Ctrl-C, as shells have it."""

SPINS = "10000"
"""How long threads of torch wait for each other before they let others run; without end, other work on the machine's
cores makes an epoch ten times as long."""


class _Refusal(click.ClickException):
    """One line for the user."""

    exit_code = REFUSED


class _Away(_Refusal):
    """The same of a store or a disk that may do it later."""

    exit_code = AWAY


def _stop(number: int, frame: object) -> NoReturn:
    """End as Ctrl-C would: Slurm and Kubernetes ask a process to end before they kill it."""
    raise KeyboardInterrupt


def _shown(error: OrchestratorError) -> _Refusal:
    if isinstance(error, Unreachable):
        return _Away(f"{error}\nWhat was done is kept; the same command goes on from here.")
    return _Refusal(str(error))


def _told(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Show what nobody expected as Python would, without passwords: a log may be read by others."""
    sys.stderr.write(without_password("".join(traceback.format_exception(kind, error, trace))))


class _Orchestrator(click.Group):
    def invoke(self, context: click.Context) -> Any:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)  # read when torch is loaded, by the command
        with contextlib.suppress(ValueError):  # only the main thread may
            signal.signal(signal.SIGTERM, _stop)
        sys.excepthook = _told
        try:
            return super().invoke(context)
        except OrchestratorError as error:
            raise _shown(error) from None
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            from orchestrator.tracking import failures

            if _came_of_ctrl_c(error):
                _end_stopped(context)
            failed = failures.told(error)
            if failed is None:
                raise
            raise _shown(failed) from None
        except KeyboardInterrupt:
            _end_stopped(context)


def _end_stopped(context: click.Context) -> NoReturn:
    click.echo("\nStopped. The same command goes on from here.", err=True)
    context.exit(STOPPED)


def _came_of_ctrl_c(error: BaseException | None) -> bool:
    """Whether an error came up while Ctrl-C was obeyed: a folder cannot be removed that MLflow's threads still fill."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None


@click.group(cls=_Orchestrator, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(__version__)
def main() -> None:
    """Train, sweep, compare and promote networks that find strong gravitational lenses.

    Begin with `orchestrator quickstart`.
    """


for command in (
    *(quickstart, data, train, sweep, worker, extend, table, compare, report, studies, doctor),
    *(registry, ensemble, calibrate, evaluate, score, serve, export, metrics, features, ui),
):
    main.add_command(command)
