"""Checks every condition of the gate on a candidate, beside the present champion."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from orchestrator.data.challenge import SIZE
from orchestrator.data.cutouts import Cutouts, Objects
from orchestrator.errors import DataError, TrackingError
from orchestrator.learning.bootstrap import LEVEL, paired_intervals
from orchestrator.learning.finder import find, half, largest_difference
from orchestrator.learning.gate import FEWEST, Check, Gate, metric_checks
from orchestrator.learning.metrics import Roc, measure_curve, roc
from orchestrator.learning.timing import time_network
from orchestrator.reports.results import Row
from orchestrator.studies.comparison import Difference, on_same_objects, paired_scores
from orchestrator.tracking import artifacts, models, records
from orchestrator.tracking.models import Model
from orchestrator.tracking.registry import Version

TIMED = 32
"""Cutouts a batch when two models are timed side by side."""

OpenFlux = Callable[[str], Cutouts]
"""Opens a set, by folder or name, as raw flux."""


@dataclass(frozen=True)
class Verdict:
    """What the gate says of a candidate.

    Attributes:
        row: of the candidate.
        against: the champion, or None where there is none yet.
        checks: all conditions.
        differences: metric → candidate less champion; empty without a champion.
        curves: name → ROC curve on the objects that both were tested on.
        objects: how many those are.
    """

    row: Row
    against: Version | None
    checks: tuple[Check, ...]
    differences: Mapping[str, Difference]
    curves: Mapping[str, Roc]
    objects: int

    @property
    def passed(self) -> bool:
        """Whether every condition is fulfilled."""
        return all(each.passed for each in self.checks)

    @property
    def refusal(self) -> str:
        """What is not fulfilled."""
        return "; ".join(f"{each.what}: no, {each.told}" for each in self.checks if not each.passed)


@dataclass(frozen=True)
class _Pair:
    """Scores of both for the same objects, where probability 0.5 is in each, and how many objects were left out."""

    labels: NDArray[np.int8]
    champion: NDArray[np.float64]
    candidate: NDArray[np.float64]
    halves: tuple[float, float]
    left_out: int


def judge(
    row: Row,
    against: Version | None,
    gate: Gate,
    device: torch.device,
    open_flux: OpenFlux,
    data: str | None = None,
) -> Verdict:
    """Check every condition.

    Args:
        row: of the candidate.
        against: the champion, or None where there is none yet.
        gate: the conditions.
        device: where to compute.
        open_flux: opens sets.
        data: a set to compare on, instead of the objects that the candidate was tested on.

    Raises:
        TrackingError: the candidate cannot be loaded, or they are of two sets.
        DataError: the objects are needed, and are not where they were.
    """
    candidate = models.load(f"runs:/{artifacts.original(row.run_id)}/model", device)
    checks = [_recorded(row), _exported(row, gate), *_unseen(row), *_fast(row, gate)]
    differences: dict[str, Difference] = {}
    curves: dict[str, Roc] = {}
    objects = 0
    rival: Model | None = None
    if against is not None:
        try:
            rival, other = models.load(f"models:/{against.name}/{against.version}", device), records.row(against.run_id)
        except TrackingError as error:  # that it cannot be compared with does not make the candidate better
            checks.append(Check("compared with the champion", False, f"{against.uri} cannot be loaded: {error}"))
    if against is not None and rival is not None:
        if rival.set != candidate.set:
            raise TrackingError(f"{row.run_id} is of the {row.set} set, and {against.uri} of the {rival.set.name} set")
        pair = _pair(row, other, candidate, rival, data, open_flux, device)
        counts = [int((pair.labels == label).sum()) for label in (1, 0)]
        told = f"{counts[0]} lenses and {counts[1]} others, {pair.left_out} left out that one was trained on"
        checks += [
            Check("enough objects in common", min(counts) >= FEWEST, told),
            _as_fast(gate, candidate, rival, device),
        ]
        if min(counts) >= FEWEST:
            differences, curves = _differences(pair), _curves(pair)
            found = {name: each.interval for name, each in differences.items() if each.interval}
            calibrated = candidate.about.get("calibrated_from") == rival.version
            checks += _truer(row, pair, gate) if calibrated else metric_checks(gate, found)
        objects = len(pair.labels)
    return Verdict(row, against, tuple(checks), differences, curves, objects)


def _truer(row: Row, pair: _Pair, gate: Gate) -> Iterator[Check]:
    """Of the champion calibrated: its ranking is the same, and its probabilities have to be better."""
    difference = largest_difference(pair.candidate, pair.champion)
    told = f"largest difference {difference:.2g}, of {gate.logit_difference:g} allowed"
    yield Check("logits of the champion", difference <= gate.logit_difference, told)
    low, high = (row.metrics.get(f"brier_change_{end}", np.nan) for end in ("low", "high"))
    told = f"Brier score, calibrated less not {low:+.4f} to {high:+.4f} ({LEVEL:.0%} interval)"
    yield Check("probabilities truer beyond noise", high < 0, told)


def _recorded(row: Row) -> Check:
    commit = records.commit_of(row.run_id)
    parts = {"data digest": row.dataset, "recipe": row.recipe, "code": commit}
    missing = [name for name, value in parts.items() if not value]
    told = f"no {', no '.join(missing)}" if missing else ", ".join(f"{name} {value}" for name, value in parts.items())
    return Check("data, recipe and code on record", not missing, told)


def _exported(row: Row, gate: Gate) -> Check:
    found = row.metrics.get("logit_difference", np.nan)
    told = f"largest difference {found:.2g}, of {gate.logit_difference:g} allowed"
    return Check("exported as trained", found <= gate.logit_difference, told)


def _unseen(row: Row) -> Iterator[Check]:
    """Tested on nothing that it was trained on: by content, and by identifier where one set was split."""
    tested, trained = (artifacts.objects(row.run_id, f"{name}.npz") for name in ("tested_on", "trained_on"))
    if tested is None or trained is None:
        yield Check("tested on unseen objects", False, "it is not on record what it was trained and tested on")
        return
    known = np.isin(tested.content, trained.content)
    if "split" in row.settings and "test_dataset" not in row.settings:
        known |= np.isin(tested.ids, trained.ids)
    yield Check("tested on unseen objects", not known.any(), f"{known.sum()} of {len(known)} were seen in training")


def _fast(row: Row, gate: Gate) -> Iterator[Check]:
    if gate.seconds_per_image is not None:
        found = row.metrics.get("seconds_per_image", np.inf)
        told = f"{found:.5f} s an image, of {gate.seconds_per_image:g} allowed"
        yield Check("fast enough", found <= gate.seconds_per_image, told)


def _as_fast(gate: Gate, candidate: Model, rival: Model, device: torch.device) -> Check:
    """Both timed in turns, since what is recorded may be of two machines."""
    flux = torch.zeros(TIMED, len(candidate.set.bands), SIZE, SIZE, device=device)

    def seconds(model: Model) -> float:
        def logits(batch: Tensor) -> Tensor:
            return model.finder(batch)["logit"]  # type: ignore[no-any-return]

        return time_network(logits, flux).seconds

    both = [(seconds(candidate), seconds(rival)) for _ in range(2)]
    ratio = min(one for one, _ in both) / min(other for _, other in both)
    told = f"{ratio:.2f} times the champion's time an image, of {gate.times_slower:g} allowed"
    return Check("fast enough beside the champion", ratio <= gate.times_slower, told)


def _pair(
    row: Row,
    other: Row,
    candidate: Model,
    rival: Model,
    data: str | None,
    open_flux: OpenFlux,
    device: torch.device,
) -> _Pair:
    """Scores of both for the candidate's test objects, or a set's, but for those that one of them was trained on."""
    tested, own, seen = (
        artifacts.objects(run, f"{name}.npz") or Objects(np.empty(0, np.int64), np.empty(0, np.uint64))
        for run, name in ((row.run_id, "tested_on"), (row.run_id, "trained_on"), (other.run_id, "trained_on"))
    )
    if data is None and on_same_objects(other, row):
        ids, labels, *scores = paired_scores(other, row)
        spoilt = tested.ids[np.isin(tested.content, seen.content)]
        kept = ~np.isin(np.array(ids, np.int64), spoilt)
        return _Pair(labels[kept], scores[0][kept], scores[1][kept], (other.half, row.half), int((~kept).sum()))
    cutouts = open_flux(data or row.settings.get("test_dataset", row.settings["dataset"]))
    if cutouts.set != candidate.set:
        raise DataError(f"{cutouts.root}: a {cutouts.set.name} set, and the models are of the {row.set} set")
    wanted = cutouts.labels >= 0
    if data is None:
        wanted &= np.isin(cutouts.content, tested.content)
    kept = wanted & ~np.isin(cutouts.content, np.concatenate([own.content, seen.content]))
    rows = np.flatnonzero(kept)
    both = [find(model.finder, cutouts.pixels, device, rows=rows) for model in (rival, candidate)]
    halves = (half(*both[0]), half(*both[1]))
    return _Pair(cutouts.labels[rows], both[0][0], both[1][0], halves, int((wanted & ~kept).sum()))


def _curves(pair: _Pair) -> dict[str, Roc]:
    both = zip(("champion", "candidate"), (pair.champion, pair.candidate), pair.halves, strict=True)
    return {name: roc(pair.labels, scores, half=half) for name, scores, half in both}


def _differences(pair: _Pair) -> dict[str, Difference]:
    one, other = (measure_curve(each) for each in _curves(pair).values())
    limits = paired_intervals(pair.labels, pair.champion, pair.candidate, halves=pair.halves)
    return {
        name: Difference(one[name], other[name], each if np.isfinite(each).all() else None)
        for name, each in limits.items()
    }
