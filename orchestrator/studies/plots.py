"""Optuna's own figures of a search."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import optuna
from optuna.trial import TrialState

from orchestrator.reports.search import Search
from orchestrator.studies.storage import last_legs, quiet

FIGURES: Mapping[str, Callable[..., Any]] = {
    "history": optuna.visualization.plot_optimization_history,
    "rungs": optuna.visualization.plot_intermediate_values,
    "importances": optuna.visualization.plot_param_importances,
    "slices": optuna.visualization.plot_slice,
}


def draw(searches: Mapping[str, optuna.Study]) -> Search:
    """Draw, for each network, what was found by when, the values at each epoch, and what mattered how."""
    return {architecture: _draw(searched) for architecture, searched in searches.items()}


def _draw(searched: optuna.Study) -> dict[str, Any]:
    standing = last_legs(searched.get_trials(deepcopy=False)).values()
    drawn: dict[str, Any] = {}
    for name, plot in FIGURES.items():
        try:
            with quiet():
                drawn[name] = json.loads(plot(searched).to_json())
        except (ValueError, RuntimeError) as error:  # too few trials, or all of one value
            drawn[name] = str(error).splitlines()[0]
    whole = sum(each == TrialState.COMPLETE for each in standing)
    told = f"{whole} of {len(standing)} trainings came to the last epoch count"
    return {"told": told, "figures": drawn}
