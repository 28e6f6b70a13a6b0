"""Which trainings earn more epochs, and training them on: section 1.1 of LEXACTUM in stated terms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
import torch

from orchestrator.data.cutouts import Cutouts
from orchestrator.errors import DataError, RecipeError
from orchestrator.learning.metrics import sign
from orchestrator.learning.training import Epoch
from orchestrator.reports.results import EMA, RAW, Curve, Trial, joined
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
    passed: bool = False
    """Whether it was extended beyond those epochs by hand, without a row there."""

    def tags(self, to: int) -> dict[str, str]:
        """For its run."""
        not_extended = f"extended beyond {to} by hand, without a row there" if self.passed else f"not extended to {to}"
        verdict = f"{f'extended to {to}' if self.extend else not_extended}: {self.reason}"
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
    """Extend what earns it among the trainings of a study that came to its last count, and record each decision.

    Count by count; nothing is decided where there are rows at a count already, such as of an extension by hand.
    """
    if study.extension is None:
        return
    name = f"val_{study.maximise}"
    trials = [each for each in records.trials(study.name, name) if name in each.curves]
    lasts = [last_value(each.curves, study.maximise) for each in trials]
    best = max(lasts, key=lambda value: sign(name) * value, default=0.0)
    for base in [each for each in trials if each.extends is None and each.epochs >= study.epochs[-1]]:
        counts = list(study.epochs)
        for to in study.extension.to:
            line = records.line(base.run_id, name)
            if not _has_rows(line, to):
                curves = {
                    key: [point for point in each if point[0] <= counts[-1]] for key, each in joined(line).items()
                }
                decision = decide(curves, counts, to, study.extension, study.maximise, best)
                decision = replace(decision, passed=line[-1].epochs > to)
                current = _before(line, to)
                runs.log_tags(current.run_id, decision.tags(to))
                told(current, to, decision)
                if not decision.extend:
                    break
                extend(current, [to], bench, lambda epoch, trial=current: watch(trial, epoch))  # type: ignore[misc]
            counts.append(to)


def extend(trial: Trial, counts: Sequence[int], bench: Bench, watch: Callable[[Epoch], None]) -> None:
    """Train on from where a finished training ended, as a run below it, with a row at each count.

    Rows that an earlier extension has recorded stay as they are; the others are trained for from the last epochs before
    them that a training of the same line ended with.

    Raises:
        RecipeError: a count that it has reached, a schedule that ended, or it is not finished.
        TrackingError: it has no checkpoint.
    """
    recipe = records.recipe_of(trial.run_id)
    if min(counts) <= trial.epochs:
        raise RecipeError(f"{trial.run_id}: has had {trial.epochs} epochs already; --to asks for {min(counts)}")
    if recipe.schedule != "constant":
        raise RecipeError(f"{trial.run_id}: its {recipe.schedule} schedule ended at {trial.epochs} epochs")
    if not trial.finished:
        raise RecipeError(f"{trial.run_id}: was interrupted; the command that began it has to finish it first")
    line = records.line(trial.run_id)
    missing = [count for count in counts if not _has_rows(line, count)]
    for start, group in groupby(missing, lambda count: _before(line, count).run_id):
        passed = list(group)
        longer = recipe.model_copy(update={"epochs": passed[-1]})
        with closing(run(longer, passed, bench, start, f"{trial.model} to {passed[-1]}", extends=start)) as epochs:
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


def _has_rows(line: Sequence[Trial], count: int) -> bool:
    """Whether a training, or what it went on from or was gone on with, has its rows at an epoch count."""
    weights = (RAW, EMA) if float(line[0].settings.get("ema", 0)) else (RAW,)
    return all(any(records.find_row(trial.run_id, count, each) for trial in line) for each in weights)


def _before(line: Sequence[Trial], count: int) -> Trial:
    """That which ended last before an epoch count."""
    return [trial for trial in line if trial.finished and trial.epochs < count][-1]


def _mean(curve: Curve) -> float:
    return float(np.mean([value for _, value in curve]))
