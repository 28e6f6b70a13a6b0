"""What a search has found so far: the best of each network, what mattered, and what it cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from orchestrator.studies.domination import DROPPED
from orchestrator.studies.search import values
from orchestrator.studies.storage import FROM, Storage, begun, failure_lines, origin_of, quiet

FEWEST = 8
"""Trials at one epoch count that it takes to tell what mattered."""


@dataclass(frozen=True)
class Overview:
    """One network of a study.

    Attributes:
        architecture: the network.
        trainings: recipes that were drawn.
        epochs: that were trained for in all.
        best: the best value at the most epochs that any training has had, or None.
        at: those epochs.
        settings: that it was drawn with.
        importances: setting → its share of what moved the values at `compared` epochs, from 0 to 1.
        compared: the epoch count at which the most trainings have a value; settings are compared there.
        failures: what failed for good, a line each.
        forked_from: the study that it was begun from, or None.
        dropped: why nothing new is begun for it, or None.
    """

    architecture: str
    trainings: int
    epochs: int
    best: float | None
    at: int
    settings: Mapping[str, Any]
    importances: Mapping[str, float]
    compared: int
    failures: tuple[str, ...]
    forked_from: str | None
    dropped: str | None


def overview(study: str, storage: Storage) -> Iterator[Overview]:
    """Look at every network of a study; nothing where it was not begun."""
    for name, architecture, searched in begun(storage):
        if name == study:
            yield _of(architecture, searched)


def _of(architecture: str, searched: optuna.Study) -> Overview:
    trials = searched.get_trials(deepcopy=False)
    reached = {origin: known for origin, known in values(trials).items() if known}
    sign = 1 if searched.direction == optuna.study.StudyDirection.MAXIMIZE else -1
    at = max(map(max, reached.values()), default=0)
    ranked = sorted((sign * known[at], origin) for origin, known in reached.items() if at in known)
    best = ranked[-1] if ranked else None
    drawn = {origin_of(trial): trial for trial in trials if trial.intermediate_values}
    importances, compared = _importances(searched, drawn, reached)
    return Overview(
        architecture,
        len(reached),
        sum(map(max, reached.values())),
        sign * best[0] if best else None,
        at,
        drawn[best[1]].params if best else {},
        importances,
        compared,
        tuple(failure_lines(searched)),
        searched.user_attrs.get(FROM),
        searched.user_attrs.get(DROPPED),
    )


def _importances(
    searched: optuna.Study, drawn: Mapping[int, FrozenTrial], reached: Mapping[int, Mapping[int, float]]
) -> tuple[dict[str, float], int]:
    """Compare trainings where most of them can be compared; later only the best are left, and hide what mattered."""
    counts = Counter(epoch for known in reached.values() for epoch in known)
    most = max(counts.values(), default=0)
    if most < FEWEST:
        return {}, 0
    epoch = max(each for each, count in counts.items() if count == most)
    compared = optuna.create_study(direction=searched.direction)
    for origin, known in reached.items():
        if epoch in known:
            trial = drawn[origin]
            compared.add_trial(
                optuna.trial.create_trial(params=trial.params, distributions=trial.distributions, value=known[epoch])
            )
    with quiet():
        found = optuna.importance.get_param_importances(compared)
    return dict(found), epoch
