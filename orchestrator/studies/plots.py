"""Optuna's own figures of a search, on one page."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import optuna
from optuna.trial import TrialState

from orchestrator.reports.page import figure, page, small_print
from orchestrator.studies.storage import quiet
from orchestrator.studies.study import Study

FIGURES: Mapping[str, Callable[..., Any]] = {
    "history": optuna.visualization.plot_optimization_history,
    "rungs": optuna.visualization.plot_intermediate_values,
    "importances": optuna.visualization.plot_param_importances,
    "slices": optuna.visualization.plot_slice,
}


def search_page(study: Study, searches: Mapping[str, optuna.Study]) -> str:
    """Draw, for each network, what was found by when, the values at each epoch, and what mattered how."""
    return page(f"Search of study {study.name}", study.description, list(_sections(searches)))


def _sections(searches: Mapping[str, optuna.Study]) -> Iterator[tuple[str, str, str]]:
    for architecture, searched in searches.items():
        complete = searched.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
        drawn = []
        for name, plot in FIGURES.items():
            try:
                with quiet():
                    drawn.append(figure(plot(searched), f"{architecture}-{name}"))
            except (ValueError, RuntimeError) as error:  # too few trials, or all of one value
                drawn.append(small_print(f"no {name} yet: {str(error).splitlines()[0]}"))
        told = f"{len(complete)} of {len(searched.get_trials(deepcopy=False))} trials came to the last epoch count"
        yield architecture, html.escape(architecture), small_print(told) + "".join(drawn)
