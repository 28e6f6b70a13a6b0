"""A small set on a bench, with stores of its own in a working directory of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from orchestrator.data import cache
from orchestrator.studies.bench import Bench
from orchestrator.studies.study import Study
from orchestrator.tracking import store

NORMALISATION = "asinh"
"""Its graph is small: a row is recorded in half the time that it takes with ZScale."""


@pytest.fixture
def bench(tmp_path: Path, small_space: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID"):
        monkeypatch.delenv(name, raising=False)
    for _ in cache.build(small_space, NORMALISATION, tmp_path / "packed", workers=1):
        pass
    cutouts = cache.load(small_space, NORMALISATION, tmp_path / "packed")
    assert cutouts is not None
    store.connect()
    return Bench({NORMALISATION: cutouts}, None, torch.device("cpu"), store.experiment("small"), "small")


def study(**changed: object) -> Study:
    small = {"name": "small", "data": "x", "architectures": ["lens_flow"], "epochs": [1, 3], "fixed": {"seed": 5}}
    values: dict[str, Any] = {**small, **changed}
    if "normalisation" not in values.get("vary", {}):
        values["fixed"] = {"normalisation": NORMALISATION, **values["fixed"]}
    return Study.model_validate(values)
