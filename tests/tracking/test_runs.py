"""What several processes record at the same time."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestrator.tracking import store
from orchestrator.tracking.store import MlflowClient
from tests.conftest import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

RECORD = """
import sys, time
from pathlib import Path
import numpy as np
from orchestrator.data.challenge import SPACE
from orchestrator.data.cutouts import Cutouts
from orchestrator.tracking import runs, store
store.connect(sys.argv[1])
run_ids = [runs.begin("0", "trial", "x") for _ in range(10)]
none = np.zeros(0)
time.sleep(max(0, float(sys.argv[2]) - time.time()))
for number, run_id in enumerate(run_ids):
    cutouts = Cutouts(SPACE, Path(f"/set{number}"), "zscale", none, none, none, none, none, str(number))
    runs.log_dataset(run_id, cutouts, "training")
"""


def test_processes_that_record_the_same_set_at_once_all_succeed(tmp_path: Path) -> None:
    uri = store.connect(f"sqlite:///{tmp_path}/mlflow.db")
    together = str(time.time() + 15)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", RECORD, uri, together],
            env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(3)
    ]  # fmt: skip
    for process in processes:
        _, told = process.communicate(timeout=120)
        assert process.returncode == 0, told
    runs = MlflowClient().search_runs(["0"])
    assert len(runs) == 30
    assert all(len(run.inputs.dataset_inputs) == 1 for run in runs)
