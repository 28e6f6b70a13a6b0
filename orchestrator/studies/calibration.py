"""Calibrates a recorded model on labelled objects that it has not seen, and measures on others what that gains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from orchestrator.data.cutouts import Cutouts, Objects
from orchestrator.errors import DataError, TrackingError
from orchestrator.learning import reliability
from orchestrator.learning.calibration import METHODS, Calibrated
from orchestrator.learning.finder import find, half, largest_difference
from orchestrator.learning.prevalence import Survey, corrected, survey
from orchestrator.reports.reliability import reliability_page
from orchestrator.studies.comparison import Difference
from orchestrator.studies.evaluation import log_scored, refuse_other_set, run_of, source
from orchestrator.tracking import artifacts, models, records, registry, runs
from orchestrator.tracking.models import Model
from orchestrator.tracking.registry import Version

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

FEWEST = 40
"""Lenses, and others, that a calibration takes at least: half of them to fit, half to measure."""

SEED = 0
"""Of the halves."""

SAME = 1e-6
"""How far a calibrated model's logits may be from the model's, relative above 1."""


@dataclass(frozen=True)
class Calibration:
    """What came out.

    Attributes:
        run_id: where it is recorded, with the calibrated model.
        fitted: objects it was fitted to.
        measured: other objects, on which all numbers are.
        left_out: labelled objects that the model was trained on; None where that is not on record.
        differences: measure → before and after, and its interval.
        survey: what is seen at a share of lenses on the sky, where one was given.
    """

    run_id: str
    fitted: int
    measured: int
    left_out: int | None
    differences: Mapping[str, Difference]
    survey: Survey | None


def calibrate(
    uri: str,
    model: Model,
    cutouts: Cutouts,
    method: str,
    device: torch.device,
    experiment: str,
    prevalence: float | None = None,
) -> Calibration:
    """Fit to one half of the objects, measure on the other, and record both with the calibrated model.

    Args:
        uri: what `model` was loaded from.
        model: as loaded.
        cutouts: labelled raw flux.
        method: a name of `orchestrator.learning.calibration.METHODS`.
        device: where the model is.
        experiment: to record in.
        prevalence: share of lenses on the sky, to tell what a survey would see.

    Raises:
        DataError: the set is the other one, or has too few objects that the model has not seen.
        RecipeError: the objects allow no fit.
    """
    fixed = source(uri, model)
    origin = records.row(run_of(fixed))
    seen = artifacts.objects(origin.run_id, "trained_on.npz")
    refuse_other_set(uri, model, cutouts)
    fit, rest, left_out = _halves(cutouts, seen)
    rows, labels = np.concatenate([fit, rest]), cutouts.labels[rest]
    logits, before = find(model.finder, cutouts.pixels, device, rows=rows)
    calibration = METHODS[method](cutouts.labels[fit], logits[: len(fit)])
    finder = Calibrated(models.load(fixed, torch.device("cpu")).finder, calibration)
    share = float((cutouts.labels[fit] == 1).mean())
    own = {key: value for key, value in model.about.items() if key in ("architecture", "normalisation", "how")}
    about = {"members": [fixed], "calibrated_from": model.version, "calibration": method, "prevalence": share}

    run_id = runs.begin(experiment, "calibration", f"{uri} by {method}")
    with runs.running(run_id):
        models.log(run_id, finder, model.set, {**own, **about})
        again, after = find(models.load(f"runs:/{run_id}/model", device).finder, cutouts.pixels, device, rows=rows)
        difference = largest_difference(again, logits)
        if not difference <= SAME:
            raise TrackingError(f"{uri}: once calibrated its logits differ by {difference:.2g}: not to be used")
        logits, before, after = (each[len(fit) :] for each in (logits, before, after))
        runs.log_params(
            run_id, {"model": origin.name, "calibrated": uri, "method": method, "recipe.digest": origin.recipe}
        )
        runs.log_metrics(run_id, {"logit_difference": difference})
        log_scored(run_id, f"{uri} by {method}", cutouts, rest, logits, after, half(logits, after))
        if seen is not None:  # else it stays unknown what the model was trained on
            ids, content = (np.concatenate(both) for both in zip(seen, cutouts.objects(fit), strict=True))
            artifacts.log_objects(run_id, "trained_on.npz", Objects(ids, content))
        artifacts.log_objects(run_id, "tested_on.npz", cutouts.objects(rest))
        found = _differences(labels, before, after)
        runs.log_metrics(run_id, {f"{name}_before": each.one for name, each in found.items()})
        runs.log_metrics(run_id, {name: each.other for name, each in found.items()})
        runs.log_intervals(run_id, {f"{name}_change": each.interval for name, each in found.items() if each.interval})
        there = None
        if prevalence is not None:
            there = survey(labels, logits, corrected(after, share, prevalence), prevalence)
        page = reliability_page(
            f"{uri} calibrated by {method}",
            f"Fitted to {len(fit):,} objects of {cutouts.root.name}, measured on {len(rest):,} others",
            [[name, *each.cells] for name, each in found.items()],
            {"before": reliability.bins(labels, before), "after": reliability.bins(labels, after)},
            there,
        )
        artifacts.log_text(run_id, page, "calibration.html")
    return Calibration(run_id, len(fit), len(rest), left_out, found, there)


def register(found: Calibration) -> Version:
    """Register the calibrated model as a new version of the model of its set, without an alias."""
    about = models.load(f"runs:/{found.run_id}/model", torch.device("cpu")).about
    return registry.register(
        records.row(found.run_id), {"calibrated_from": about["calibrated_from"], "calibration": about["calibration"]}
    )


def _halves(cutouts: Cutouts, seen: Objects | None) -> tuple[Rows, Rows, int | None]:
    """Rows to fit to and rows to measure on, and how many labelled ones were left out since they were trained on."""
    from sklearn.model_selection import train_test_split

    labelled = cutouts.labels >= 0
    known = labelled & np.isin(cutouts.content, [] if seen is None else seen.content)
    rows = np.flatnonzero(labelled & ~known)
    for label, kind in ((1, "lenses"), (0, "non-lenses")):
        if (count := int((cutouts.labels[rows] == label).sum())) < FEWEST:
            raise DataError(
                f"{cutouts.root}: {count} labelled {kind} that the model was not trained on, and {FEWEST} are needed"
                f" ({int(known.sum()):,} of {int(labelled.sum()):,} objects were trained on)"
            )
    fit, rest = train_test_split(rows, test_size=0.5, stratify=cutouts.labels[rows], random_state=SEED)
    return np.sort(fit), np.sort(rest), None if seen is None else int(known.sum())


def _differences(labels: NDArray[np.int8], before: Floats, after: Floats) -> dict[str, Difference]:
    one, other = reliability.measure(labels, before), reliability.measure(labels, after)
    limits = reliability.differences(labels, before, after)
    return {name: Difference(one[name], other[name], limits.get(name)) for name in one}
