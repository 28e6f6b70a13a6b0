"""A small set and a small network on a bench, with stores of its own in a working directory of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from architectures import lens_flow
from orchestrator.data import cache
from orchestrator.data.cutouts import Cutouts
from orchestrator.studies.bench import Bench
from orchestrator.studies.study import Study
from orchestrator.tracking import store

NORMALISATION = "none"
"""Its graph is small: a row is recorded in half the time that it takes with ZScale."""

BRIGHT = 1e11
"""The simulated fluxes times that are about 1."""


class Small(nn.Module):
    """Stands for LensFlow, and is trained and recorded in half the time."""

    def __init__(self, bands: int, size: int, *, hidden: int = 128, dropout: float = 0.5) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.AvgPool2d(9), nn.Flatten(), nn.Linear(bands * (size // 9) ** 2, 1))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.layers(images * BRIGHT)
        return logits.squeeze(1)


@pytest.fixture(scope="session")
def packed(tmp_path_factory: pytest.TempPathFactory, small_space: Path) -> Cutouts:
    folder = tmp_path_factory.mktemp("packed")
    for _ in cache.build(small_space, NORMALISATION, folder, workers=1):
        pass
    cutouts = cache.load(small_space, NORMALISATION, folder)
    assert cutouts is not None
    return cutouts


@pytest.fixture
def bench(tmp_path: Path, packed: Cutouts, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(lens_flow, "Network", Small)
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID"):
        monkeypatch.delenv(name, raising=False)
    store.connect()
    return Bench({NORMALISATION: packed}, None, torch.device("cpu"), store.experiment("small"), "small")


def study(**changed: object) -> Study:
    small = {"name": "small", "data": "x", "architectures": ["lens_flow"], "epochs": [1, 3], "fixed": {"seed": 5}}
    values: dict[str, Any] = {**small, **changed}
    if "normalisation" not in values.get("vary", {}):
        values["fixed"] = {"normalisation": NORMALISATION, **values["fixed"]}
    return Study.model_validate(values)
