"""Drops the networks of a search whose recipes another's are better than, by more than chance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import optuna
from numpy.typing import ArrayLike

from orchestrator.learning.bootstrap import RESAMPLES, paired_intervals
from orchestrator.learning.metrics import sign
from orchestrator.reports.results import RAW, Row, best
from orchestrator.studies.row import VALIDATION
from orchestrator.studies.search import values
from orchestrator.studies.storage import origin_of
from orchestrator.studies.study import Study
from orchestrator.tracking import artifacts, records, runs

FEWEST = 8
"""Trainings of each network at an epoch count before networks are compared there."""

WRONG = 0.05
"""Share of searches, at most, in which a network is dropped whose recipes are as good as another's."""

DROPPED, COMPARED = "dropped", "compared"
"""Attributes of an Optuna study: why nothing new is begun for its network; the epoch counts it was compared at."""


def chance(better: int, ahead: int, behind: int) -> float:
    """How likely the best of all recipes are that many of one network, were the recipes of both of one law.

    Args:
        better: recipes of the one that are better than the best of the other.
        ahead: recipes of the one in all.
        behind: recipes of the other in all.

    Source: Epstein 1954, Annals of Mathematical Statistics 25, 762 (exceedances).
    """
    return math.comb(ahead + behind - better, behind) / math.comb(ahead + behind, behind)


def allowed(networks: int, counts: int) -> float:
    """The chance that one comparison may take: any network may be ahead of any, at each epoch count."""
    return WRONG / (networks * (networks - 1) * counts)


def worse(labels: ArrayLike, scores: ArrayLike, other: ArrayLike, maximise: str, risk: float) -> bool:
    """Whether scores are worse than others of the same objects by more than the chance of these objects.

    Args:
        labels: (n,) 1 a lens, 0 none.
        scores: (n,) logits of the one.
        other: (n,) logits of the other.
        maximise: the metric.
        risk: that it is said where it is not so.
    """
    enough = max(RESAMPLES, round(4 / risk))
    limits = paired_intervals(labels, other, scores, level=1 - 2 * risk, resamples=enough)[maximise]
    return max(sign(maximise) * limit for limit in limits) < 0


def dropped(searches: Mapping[str, optuna.Study]) -> dict[str, str]:
    """The networks for which nothing new is begun, and why."""
    return {name: searched.user_attrs[DROPPED] for name, searched in searches.items() if DROPPED in searched.user_attrs}


def drop(study: Study, searches: Mapping[str, optuna.Study], parent: str) -> None:
    """Compare the networks at each epoch count where all that are still searched have enough trainings, once.

    What counts is how many recipes of the network with the best row are better than the best of another: by what they
    came to, and by more than the chance of the validation objects. To be called under the claim.

    Args:
        study: what is asked for.
        searches: network → its study.
        parent: run of the study, which gets a tag for each network that is dropped.
    """
    left = {name: searched for name, searched in searches.items() if DROPPED not in searched.user_attrs}
    if len(searches) < 2:
        return
    risk = allowed(len(searches), len(study.epochs))
    for count in study.epochs:
        before = [searched.user_attrs.get(COMPARED, []) for searched in left.values()]
        if all(count in each for each in before) or any(_standing(each, count) < FEWEST for each in left.values()):
            continue
        metric = f"val_{study.maximise}"
        rows = [row for row in records.rows(study.name) if row.epochs == count and row.weights == RAW]
        first, *others = best([row for row in rows if row.model in left], metric)
        ahead = [row for row in rows if row.model == first.model]
        recipes = {name: _begun(searched) for name, searched in left.items()}
        for row in others:
            better = sum(_worse(row, each, study.maximise, risk) for each in ahead)
            if chance(better, recipes[first.model], recipes[row.model]) <= risk:
                told = (
                    f"at {count} epochs its best {metric} of {row.metrics[metric]:.4f} is behind {better} of"
                    f" {len(ahead)} recipes of {first.model}"
                )
                runs.log_tags(parent, {f"{DROPPED}.{row.model}": told})
                left.pop(row.model).set_user_attr(DROPPED, told)
        for searched in left.values():
            searched.set_user_attr(COMPARED, [*searched.user_attrs.get(COMPARED, []), count])


def _standing(searched: optuna.Study, count: int) -> int:
    return sum(count in reached for reached in values(searched.get_trials(deepcopy=False)).values())


def _begun(searched: optuna.Study) -> int:
    """Recipes drawn: those that were left behind at an earlier count are part of the law too."""
    trials: Sequence[optuna.trial.FrozenTrial] = searched.get_trials(deepcopy=False)
    return len({origin_of(trial) for trial in trials if trial.intermediate_values})


def _worse(row: Row, other: Row, maximise: str, risk: float) -> bool:
    """Never where they were not validated on the same objects."""
    metric = f"val_{maximise}"
    if sign(metric) * (row.metrics[metric] - other.metrics.get(metric, row.metrics[metric])) >= 0:
        return False
    if not all(artifacts.has(each.run_id, VALIDATION) for each in (row, other)):
        return False
    own, its = (artifacts.scores(each.run_id, VALIDATION) for each in (row, other))
    order, places = np.argsort(own.ids), np.argsort(its.ids)
    if not np.array_equal(np.array(own.ids)[order], np.array(its.ids)[places]):
        return False
    return worse(own.labels[order], own.scores[order], its.scores[places], maximise, risk)
