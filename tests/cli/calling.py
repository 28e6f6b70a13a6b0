"""The command line, called in this process or as one of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from click.testing import CliRunner, Result

from orchestrator.cli import main
from tests.conftest import ROOT

Call = Callable[..., Result]

NO_STORE_OF_THE_USER = dict.fromkeys(("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "OPTUNA_STORAGE"))
"""What the person who runs the tests has set would send their records there."""


ENVIRONMENT = {
    **{key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "OPTUNA_"))},
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
}


def invoke(*arguments: str, expect: int | None = 0) -> Result:
    """Call the command line; by default it has to succeed, with None it may end in any way."""
    result = CliRunner(env=NO_STORE_OF_THE_USER).invoke(main, list(arguments))
    assert expect in (None, result.exit_code), result.output + repr(result.exception)
    return result


def start(*arguments: str, at: Path, after: str = "", **environment: str) -> subprocess.Popen[str]:
    """The command line as a process of its own, which does something else first where that is given."""
    program = ("-c", f"{after}; from orchestrator.cli import main; main()") if after else ("-m", "orchestrator")
    command = [sys.executable, *program, *arguments]
    known = {**ENVIRONMENT, "XDG_CACHE_HOME": os.environ["XDG_CACHE_HOME"]}  # which is set once tests run
    return subprocess.Popen(
        command, cwd=at, env={**known, **environment, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
