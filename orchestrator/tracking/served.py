"""What MLflow runs of a recorded model, wherever it is served: this file travels with it, and needs torch alone.

Takes raw flux (n, bands, size, size) float32 and gives `logit` and `probability`, (n,) float32 each.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel
from numpy.typing import NDArray

BATCH = 64
"""Cutouts at once; more need memory and gain nothing."""


class LensFinder(PythonModel):
    """Runs the exported graph."""

    def load_context(self, context: Any) -> None:
        """Load the graph on the best device there is."""
        from pt2 import load  # type: ignore[import-not-found] # it lies beside this file in a recorded model

        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.finder = load(Path(context.artifacts["finder"]), self.device).module()

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def] # MLflow warns of hints
        """Score cutouts, in the order they come in."""
        if isinstance(model_input, dict):
            (model_input,) = model_input.values()
        parts: dict[str, list[NDArray[np.float32]]] = {"logit": [], "probability": []}
        with torch.inference_mode():
            for start in range(0, len(model_input), BATCH):
                flux = torch.from_numpy(np.ascontiguousarray(model_input[start : start + BATCH])).to(self.device)
                for name, values in self.finder(flux).items():
                    parts[name].append(values.cpu().numpy())
        return {name: np.concatenate(values) if values else np.empty(0, np.float32) for name, values in parts.items()}


set_model(LensFinder())
