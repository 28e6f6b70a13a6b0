"""Makes one finder of the best networks of a study, and a row of the study's table of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from orchestrator.data.cutouts import Cutouts
from orchestrator.data.splits import split
from orchestrator.errors import DataError, StudyError, TrackingError
from orchestrator.json_text import as_json
from orchestrator.learning.ensemble import How, Orientations, combine
from orchestrator.learning.finder import Scores, find
from orchestrator.learning.metrics import sign
from orchestrator.learning.recipe import Recipe
from orchestrator.learning.timing import time_end_to_end
from orchestrator.reports.results import Row
from orchestrator.studies.row import Candidate, put_on_record, raw, timed_files
from orchestrator.tracking import artifacts, models, records, runs

ROUNDS = 3
"""In which an ensemble and its best member are timed in turns; the median of their ratios counts."""

Member = tuple[Row, Recipe]


@dataclass(frozen=True)
class Plan:
    """What to make.

    Attributes:
        study: whose rows.
        top: how many of them.
        how: they are combined.
        orientations: whether each is the mean over the eight orientations.
    """

    study: str
    top: int
    how: How
    orientations: bool

    @property
    def name(self) -> str:
        """In the table, which has little room: `mean-5`, or `mean-5x8` with all orientations."""
        members = f"{self.how}-{self.top}" if self.top > 1 else "best-1"
        return f"{members}x8" if self.orientations else members


@dataclass(frozen=True)
class Ensemble:
    """Its run, the rows it is made of, the best first, and how many times that one's time it takes."""

    run_id: str
    members: tuple[Row, ...]
    times_slower: float


def ensemble(plan: Plan, device: torch.device, open_flux: Callable[[str], Cutouts]) -> Ensemble:
    """Combine the best rows of a study by validation, and record the result as a row; one that is there is kept.

    What is fitted is fitted to the validation objects, which the members were chosen by as well: the row has no metrics
    of them. The test objects only measure.

    Raises:
        StudyError: one network by itself, or members that do not share their data and split.
        TrackingError: the study has too few trainings.
        DataError: its objects are not where they were, or others.
        RecipeError: nothing can be fitted to the validation objects.
    """
    if plan.top == 1 and not plan.orientations:
        raise StudyError("one network by itself is no ensemble (allowed: --top 2 or more, or --orientations)")
    members = _members(plan)
    digest = _digest(plan, members)
    run_id = next((row.run_id for row in records.rows(plan.study) if row.recipe == digest), None)
    if run_id is None:
        run_id = _record(plan, members, digest, device, open_flux)
    return Ensemble(run_id, tuple(row for row, _ in members), records.metrics(run_id)["times_slower"])


def _members(plan: Plan) -> list[Member]:
    """The best row of each of the best trainings."""
    metric = f"val_{records.study_definition(plan.study).get('maximise', 'auc')}"
    scored = [row for row in records.rows(plan.study) if row.epochs is not None and metric in row.metrics]
    ranked = sorted(scored, key=lambda row: sign(metric) * row.metrics[metric], reverse=True)
    chosen: dict[tuple[str, ...], Member] = {}
    for row in ranked:
        recipe = records.recipe_of(row.trial)
        chosen.setdefault((recipe.digest_without("epochs"), *_data(row)), (row, recipe))
        if len(chosen) == plan.top:
            break
    else:
        raise TrackingError(f"'{plan.study}' has rows of {len(chosen)} trainings (--top {len(chosen)} takes them all)")
    first, *others = chosen.values()
    for other in others:
        for what, one, another in zip(("set", "data", "split"), _ground(first), _ground(other), strict=True):
            if one != another:
                raise StudyError(
                    f"{_called(other[0])} is of the {what} {another}, and {_called(first[0])} of {one}:"
                    " an ensemble is of one set, and of the same data and split"
                )
    return list(chosen.values())


def _ground(member: Member) -> tuple[str, str, str]:
    row, recipe = member
    data, tested = _data(row)
    return row.set, data, f"{recipe.split} seed {recipe.splitting}, tested on {tested}"


def _data(row: Row) -> tuple[str, str]:
    """Digests of what it was trained and tested on."""
    return row.dataset, records.tested(row) or row.tested


def _called(row: Row) -> str:
    return f"{row.run_id} ({row.name}, {row.epochs} epochs)"


def _digest(plan: Plan, members: Sequence[Member]) -> str:
    """Of everything that decides the ensemble."""
    parts = [plan.how, plan.orientations, *sorted(row.run_id for row, _ in members)]
    return hashlib.sha256(as_json(parts).encode()).hexdigest()[:16]


def _record(
    plan: Plan, members: Sequence[Member], digest: str, device: torch.device, open_flux: Callable[[str], Cutouts]
) -> str:
    (best, recipe), cpu = members[0], torch.device("cpu")
    sets = [open_flux(best.settings[key]) for key in ("dataset", "test_dataset") if key in best.settings]
    trained, tested = sets[0], sets[-1]
    parts = split(trained.labels, recipe.split, recipe.splitting)
    test_rows = parts.test if tested is trained else np.flatnonzero(tested.labels >= 0)
    if (trained.digest, runs.tested_on(tested, test_rows)["tested"]) != _data(best):
        raise DataError(f"{trained.root}: not the objects that '{plan.study}' was trained and tested on any more")

    labels = trained.labels[parts.validation]
    finders = [_finder(plan, row, device) for row, _ in members]
    logits = np.stack([find(finder, trained.pixels, device, rows=parts.validation)[0] for finder in finders])
    finder = combine(finders, plan.how, labels, logits).to(device)
    exported = (
        finder if device == cpu else combine([_finder(plan, row, cpu) for row, _ in members], plan.how, labels, logits)
    )
    first, *_ = sources = [_uri(row) for row, _ in members]
    about = {
        "architecture": "ensemble",
        "how": plan.name,
        "members": sources,
        "prevalence": float((trained.labels[parts.train] == 1).mean()),
    }
    slower = _times_slower(finder, models.load(first, device).finder, tested, device)
    candidate = Candidate(f"ensemble {plan.name}", _logit(finder), exported, about, {"times_slower": slower})

    def begin(tested_on: Mapping[str, str]) -> str:
        run_id = runs.begin(records.experiment(best.run_id), "row", f"ensemble {plan.name}", study=plan.study)
        data = {
            key: value for key, value in best.settings.items() if key in ("dataset", "dataset.digest", "test_dataset")
        }
        own = {"recipe.digest": digest, "ensemble.members": " ".join(row.run_id for row, _ in members)}
        runs.log_params(run_id, {"model": "ensemble", "how": plan.name, **tested_on, **data, **own})
        runs.log_tags(run_id, {"set": best.set})
        artifacts.log_objects(
            run_id, "trained_on.npz", trained.objects(np.concatenate([parts.train, parts.validation]))
        )
        artifacts.log_objects(run_id, "tested_on.npz", tested.objects(test_rows))
        return run_id

    return put_on_record(candidate, tested, test_rows, device, begin)


def _uri(row: Row) -> str:
    return f"runs:/{artifacts.original(row.run_id)}/model"


def _finder(plan: Plan, row: Row, device: torch.device) -> nn.Module:
    finder = models.load(_uri(row), device).finder
    return Orientations(finder) if plan.orientations else finder


def _logit(finder: Callable[[Tensor], Scores]) -> Callable[[Tensor], Tensor]:
    return lambda flux: finder(flux)["logit"]


def _times_slower(
    one: Callable[[Tensor], Scores], other: Callable[[Tensor], Scores], cutouts: Cutouts, device: torch.device
) -> float:
    """How many times the time of the other the one takes from file to score."""
    files = timed_files(cutouts)

    def seconds(finder: Callable[[Tensor], Scores]) -> float:
        return time_end_to_end(lambda: raw(files), _logit(finder), device).seconds

    return float(np.median([seconds(one) / seconds(other) for _ in range(ROUNDS)]))
