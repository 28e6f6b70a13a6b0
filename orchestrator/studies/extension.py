"""Which trainings earn more epochs, and training them on: section 1.1 of LEXACTUM in stated terms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch

from orchestrator.data.cutouts import Cutouts
from orchestrator.errors import DataError, RecipeError
from orchestrator.learning.metrics import sign
from orchestrator.learning.training import Epoch
from orchestrator.reports.results import Curve, Trial
from orchestrator.studies.bench import Bench
from orchestrator.studies.study import Extension, Study
from orchestrator.studies.trial import run
from orchestrator.tracking import records, runs

FEWEST = 4
"""Epochs that a trend needs."""

Told = Callable[[Trial, int, "Decision"], None]
"""Told of each decision: the training, to how many epochs it would go on, and what was decided."""

Watch = Callable[[Trial, Epoch], None]
"""Told of each epoch of an extension."""


@dataclass(frozen=True)
class Trend:
    """A line fitted over the logarithm of the epoch: its rise until more epochs are done, and the scatter about it."""

    rise: float
    noise: float


@dataclass(frozen=True)
class Decision:
    """Whether a training goes on, why, and the figures that say so."""

    extend: bool
    reason: str
    figures: Mapping[str, float]

    def tags(self, to: int) -> dict[str, str]:
        """For its run."""
        verdict = f"{'extended' if self.extend else 'not extended'} to {to}: {self.reason}"
        return {"extension": verdict, **{f"extension.{key}": f"{each:.6g}" for key, each in self.figures.items()}}


def decide(curves: Mapping[str, Curve], counts: Sequence[int], to: int, rule: Extension, maximise: str,
           best: float) -> Decision:  # fmt: skip
    """Decide whether a training is promising and does not overfit, by its validation set alone.

    Over the epochs from the last but `rule.rungs` of the counts on, each metric is fitted by a straight line over the
    logarithm of the epoch, as learning curves flatten. It is

    - promising if the fit rises, until `to` epochs are done, by `rule.gain` times its noise at least, and, where
      `rule.within` says so, its last value on the fit is as near to the best of the study;
    - overfitting if the validation loss rises likewise by more than `rule.rise` times its noise, or if the accuracy on
      the training images exceeds that on the validation set by more than `rule.gap`, both averaged over those epochs.

    Args:
        curves: metric → its curve: ``val_loss``, ``accuracy``, ``val_accuracy`` and that which is maximised.
        counts: epoch counts so far, ascending.
        to: epochs it would go on to.
        rule: of the study.
        maximise: the metric, without ``val_``.
        best: highest (or lowest, where less is better) last value among the trainings of the study.

    Source: LEXACTUM section 1.1 says it in words; the terms are ours.
    """
    first, last = counts[-min(rule.rungs, len(counts))], counts[-1]
    windows = {name: [point for point in curve if first <= point[0] <= last] for name, curve in curves.items()}
    name = f"val_{maximise}"
    if len(windows.get(name, [])) < FEWEST or len(windows.get("val_loss", [])) < FEWEST:
        return Decision(False, f"fewer than {FEWEST} epochs from {first} to {last} to see a trend in", {})
    better = sign(maximise)
    metric, loss = trend(windows[name], to), trend(windows["val_loss"], to)
    gap = _mean(windows["accuracy"]) - _mean(windows["val_accuracy"])
    behind = better * (best - last_value(curves, maximise))
    figures = {"gain": better * metric.rise, "noise": metric.noise, "loss_rise": loss.rise, "loss_noise": loss.noise,
               "gap": gap, "behind": behind}  # fmt: skip
    problems = []
    if better * metric.rise < rule.gain * metric.noise:
        problems.append(f"{name} is about to gain {better * metric.rise:.4f}, within its noise of {metric.noise:.4f}")
    if rule.within is not None and behind > rule.within:
        problems.append(f"{name} is {behind:.4f} behind the best")
    if loss.rise > rule.rise * loss.noise:
        problems.append(f"overfitting: val_loss is rising by {loss.rise:.4f}, beyond its noise of {loss.noise:.4f}")
    if gap > rule.gap:
        problems.append(f"overfitting: accuracy is {gap:.4f} higher in training")
    if problems:
        return Decision(False, "; ".join(problems), figures)
    return Decision(True, f"{name} is about to gain {better * metric.rise:.4f}, noise {metric.noise:.4f}", figures)


def trend(curve: Curve, to: int) -> Trend:
    """Fit a curve, and go on along the fit from its last epoch to another."""
    epochs, values = np.array(curve).T
    slope, height = np.polyfit(np.log(epochs), values, 1)
    scatter = values - (slope * np.log(epochs) + height)
    return Trend(float(slope * np.log(to / epochs[-1])), float(np.sqrt((scatter**2).sum() / (len(values) - 2))))


def last_value(curves: Mapping[str, Curve], maximise: str) -> float:
    """The last value on record."""
    return curves[f"val_{maximise}"][-1][1]


def extend_study(study: Study, bench: Bench, told: Told, watch: Watch) -> None:
    """Extend what earns it among the finished trainings of a study, count by count, and record each decision."""
    if study.extension is None:
        return
    name = f"val_{study.maximise}"
    trials = [each for each in records.trials(study.name, name) if name in each.curves]
    lasts = [last_value(each.curves, study.maximise) for each in trials]
    best = max(lasts, key=lambda value: sign(name) * value, default=0.0)
    for base in [each for each in trials if each.extends is None]:
        current, curves, counts = base, base.curves, list(study.epochs)
        for to in study.extension.to:
            child = _child(trials, current, to)
            if child is None:
                decision = decide(curves, counts, to, study.extension, study.maximise, best)
                runs.log_tags(current.run_id, decision.tags(to))
                told(current, to, decision)
                if not decision.extend:
                    break
                extend(current, [to], bench, lambda epoch, trial=current: watch(trial, epoch))  # type: ignore[misc]
                child = _child(records.trials(study.name, name), current, to)
                assert child is not None  # it was finished just now
            curves = {key: [*curves.get(key, []), *each] for key, each in child.curves.items()}
            current, counts = child, [*counts, to]


def extend(trial: Trial, counts: Sequence[int], bench: Bench, watch: Callable[[Epoch], None]) -> None:
    """Train on from where a finished training ended, as a run below it, with a row at each count.

    Raises:
        RecipeError: a count that it has reached, or a schedule that ended.
        TrackingError: it has no checkpoint.
    """
    recipe = records.recipe_of(trial.run_id)
    if min(counts) <= recipe.epochs:
        raise RecipeError(f"{trial.run_id}: has had {recipe.epochs} epochs already; --to asks for {min(counts)}")
    if recipe.schedule != "constant":
        raise RecipeError(f"{trial.run_id}: its {recipe.schedule} schedule ended at {recipe.epochs} epochs")
    longer = recipe.model_copy(update={"epochs": max(counts)})
    name = f"{trial.model} to {max(counts)}"
    with closing(run(longer, counts, bench, trial.run_id, name, extends=trial.run_id)) as epochs:
        for epoch in epochs:
            watch(epoch)


def bench(trial: Trial, device: torch.device, open_set: Callable[[str], Cutouts]) -> Bench:
    """What a finished training shared with others, opened again.

    Raises:
        DataError: a set is gone, or is another one now.
    """
    about = trial.tags

    def same(key: str, done: str) -> Cutouts:
        found = open_set(about[key])
        if found.digest != about[f"{key}.digest"]:
            raise DataError(f"{found.root}: has changed since {trial.run_id} was {done} on it")
        return found

    cutouts = same("dataset", "trained")
    tested = same("test_dataset", "tested") if "test_dataset" in about else None
    each = trial.settings["normalisation"]
    return Bench(
        {each: cutouts}, {each: tested} if tested else None, device, records.experiment(trial.run_id), about["study"]
    )


def _child(trials: Sequence[Trial], of: Trial, to: int) -> Trial | None:
    """What went on from a training to that many epochs or more."""
    return next((each for each in trials if each.extends == of.run_id and int(each.settings["epochs"]) >= to), None)


def _mean(curve: Curve) -> float:
    return float(np.mean([value for _, value in curve]))
