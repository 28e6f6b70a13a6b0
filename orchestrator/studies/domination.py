"""Drops the networks of a search that another is better than, by more than chance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import optuna
from numpy.typing import ArrayLike

from orchestrator.learning.bootstrap import interval, paired_differences
from orchestrator.learning.metrics import measure, sign
from orchestrator.reports.results import RAW, Row, best
from orchestrator.studies.row import VALIDATION
from orchestrator.studies.study import Study
from orchestrator.tracking import artifacts, records, runs

FEWEST = 8
"""Trainings of each network at an epoch count before networks are compared there."""

DROPPED, COMPARED = "dropped", "compared"
"""Attributes of an Optuna study: why nothing new is begun for its network; the epoch counts it was compared at."""


@dataclass(frozen=True)
class Margin:
    """How far a network's scores are from the best one's, below 0 where they are worse, and the interval of that."""

    difference: float
    low: float
    high: float

    @property
    def dominated(self) -> bool:
        """Whether all of the interval is worse."""
        return self.high < 0


def margin(labels: ArrayLike, scores: ArrayLike, other: ArrayLike, maximise: str) -> Margin:
    """Compare two networks on the same objects, by a paired bootstrap.

    Args:
        labels: (n,) 1 a lens, 0 none.
        scores: (n,) logits of the network.
        other: (n,) logits of the best network.
        maximise: the metric; one of which less is better counts with its sign turned.
    """
    low, high = interval(sign(maximise) * paired_differences(labels, other, scores)[maximise])
    own, its = (measure(np.asarray(labels), np.asarray(each))[maximise] for each in (scores, other))
    return Margin(sign(maximise) * (own - its), low, high)


def dropped(searches: Mapping[str, optuna.Study]) -> dict[str, str]:
    """The networks for which nothing new is begun, and why."""
    return {name: searched.user_attrs[DROPPED] for name, searched in searches.items() if DROPPED in searched.user_attrs}


def drop(study: Study, searches: Mapping[str, optuna.Study], parent: str) -> None:
    """Compare the networks at each epoch count where all that are still searched have enough trainings, once.

    The best row of each is compared with the best of all, on their validation objects. To be called under the claim.

    Args:
        study: what is asked for.
        searches: network → its study.
        parent: run of the study, which gets a tag for each network that is dropped.
    """
    left = {name: searched for name, searched in searches.items() if DROPPED not in searched.user_attrs}
    for count in study.epochs:
        before = [searched.user_attrs.get(COMPARED, []) for searched in left.values()]
        if all(count in each for each in before) or any(_standing(each, count) < FEWEST for each in left.values()):
            continue
        metric = f"val_{study.maximise}"
        rows = [row for row in records.rows(study.name) if row.epochs == count and row.weights == RAW]
        first, *others = best([row for row in rows if row.model in left], metric)
        for row in others:
            found = _margin(row, first, study.maximise)
            if found and found.dominated:
                told = (
                    f"at {count} epochs its best {metric} of {row.metrics[metric]:.4f} is {-found.difference:.4f}"
                    f" ({-found.high:.4f} to {-found.low:.4f}) behind that of {first.model}"
                )
                runs.log_tags(parent, {f"{DROPPED}.{row.model}": told})
                left.pop(row.model).set_user_attr(DROPPED, told)
        for searched in left.values():
            searched.set_user_attr(COMPARED, [*searched.user_attrs.get(COMPARED, []), count])


def _standing(searched: optuna.Study, count: int) -> int:
    return sum(count in trial.intermediate_values for trial in searched.get_trials(deepcopy=False))


def _margin(row: Row, first: Row, maximise: str) -> Margin | None:
    """None where they were not validated on the same objects."""
    if row.dataset != first.dataset or not all(artifacts.has(each.run_id, VALIDATION) for each in (row, first)):
        return None
    one, other = (artifacts.scores(each.run_id, VALIDATION) for each in (row, first))
    order, its = np.argsort(one.ids), np.argsort(other.ids)
    if not np.array_equal(np.array(one.ids)[order], np.array(other.ids)[its]):
        return None
    return margin(one.labels[order], one.scores[order], other.scores[its], maximise)
