"""How many epochs searches need to find a good recipe, on recorded learning curves (benchmarks/curves.py).

    .venv/bin/python benchmarks/search.py [seeds]

A search draws recipes of one network, and gets those of the table that are nearest to what it draws; epochs of a recipe
that it has paid for are free when it is drawn again. Told is the number of epochs spent until a training has come
within 0.5 % of the best value in the table: the median over seeds, infinite for a search that ended without.
"""

from __future__ import annotations

import csv
import json
import math
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
from _machine import show
from optuna.trial import TrialState

from orchestrator.studies import study as studies
from orchestrator.studies.ranges import Interval, Range
from orchestrator.studies.search import More, next_step, origin_of, sampler, survives, until
from orchestrator.studies.study import Study

CURVES = Path(__file__).with_name("curves")
WITHIN = 0.005
FEWEST = 6
RUNGS, MOST = [1, 2, 5, 10, 25, 50, 100, 250], 6
"""Epoch counts, of which a search has the last so many that the recorded curves reach."""

Table = list[tuple[dict[str, Any], list[float]]]


class Spent(Exception):
    """The table's best was reached."""


class Purse:
    """Pays for epochs, and ends a search that has found a good training."""

    def __init__(self, table: Table, ranges: dict[str, Range]) -> None:
        self.table, self.ranges = table, ranges
        self.paid = [0] * len(table)
        self.goal = max(max(curve) for _, curve in table) * (1 - WITHIN)

    def nearest(self, params: dict[str, Any]) -> int:
        """The recipe of the table that is most like these settings."""
        return min(range(len(self.table)), key=lambda number: self._distance(params, self.table[number][0]))

    def train(self, number: int, to: int) -> float:
        """Train a recipe of the table until that epoch, and return its value there."""
        curve = self.table[number][1]
        for epoch in range(self.paid[number] + 1, to + 1):
            self.paid[number] = epoch
            if curve[epoch - 1] >= self.goal:
                raise Spent
        return curve[to - 1]

    @property
    def spent(self) -> int:
        """Epochs in all."""
        return sum(self.paid)

    def _distance(self, one: dict[str, Any], other: dict[str, Any]) -> float:
        return sum(self._apart(self.ranges[key], one[key], other[key]) for key in one)

    @staticmethod
    def _apart(of: Range, one: Any, other: Any) -> float:
        if not isinstance(of, Interval):
            return float(one != other)
        place = [
            (math.log(x / of.low) / math.log(of.high / of.low) if of.log else (x - of.low) / (of.high - of.low))
            for x in (one, other)
        ]
        return abs(place[0] - place[1])


def epochs(asked: Study, network: str, purse: Purse, seed: int, stop: Callable[..., bool] | None) -> float:
    """How many a search spends until it has found a good training; infinitely many where it ends without."""
    try:
        search(asked, network, purse, seed, stop)
    except Spent:
        return purse.spent
    return math.inf


def search(asked: Study, network: str, purse: Purse, seed: int, stop: Callable[..., bool] | None) -> None:
    """Search with the project's own rules, until the table is spent or nothing is left."""
    searched = optuna.create_study(direction="maximize")
    numbers: dict[int, int] = {}
    while True:
        trials = searched.get_trials(deepcopy=False)
        step = next_step(asked, network, trials)
        if step is None:
            return
        if isinstance(step, More):
            about = {"origin": origin_of(step.origin), "until": step.until}
            searched.enqueue_trial(step.origin.params, user_attrs=about)
        searched.sampler = sampler(asked, 1000 * seed + len(trials))
        trial = searched.ask()
        asked.suggest(trial, network)
        origin, last = origin_of(trial), until(asked, trial)
        trial.set_user_attr("origin", origin)
        trial.set_user_attr("until", last)
        number = numbers.setdefault(origin, purse.nearest(trial.params))
        value = 0.5
        for rung in [each for each in asked.epochs if each <= last]:
            value = purse.train(number, rung)
            if trial.user_attrs["until"] == rung or asked.search in ("tpe", "random"):
                trial.report(value, rung)
            others = [each for each in trials if each.number != trial.number]
            if stop and rung < asked.epochs[-1] and stop(rung, value, others):
                break
        complete = rung == asked.epochs[-1]
        searched.tell(trial, value if complete else None, state=TrialState.COMPLETE if complete else TrialState.PRUNED)


def below_median(rung: int, value: float, others: list[optuna.trial.FrozenTrial]) -> bool:
    """The rule of Optuna's median pruner, after five trainings."""
    known = [each.intermediate_values[rung] for each in others if rung in each.intermediate_values]
    return len(known) >= 5 and value < statistics.median(known)


def compare(path: Path, seeds: int) -> None:
    """Print the table of one network."""
    network = path.stem
    with path.open(newline="") as file:
        table = [(json.loads(row["params"]), list(map(float, row["val_auc"].split()))) for row in csv.DictReader(file)]
    if len(table) < FEWEST:
        print(f"{network}: {len(table)} recipes are recorded; a comparison takes {FEWEST}")
        return
    length = min(len(curve) for _, curve in table)
    rungs = [each for each in RUNGS if each <= length][-MOST:]
    base = studies.load("space-hpo").model_copy(update={"epochs": rungs, "trials": 10 * len(table)})
    whole = base.model_copy(update={"epochs": rungs[-1:]})

    def halved(rung: int, value: float, others: list[optuna.trial.FrozenTrial]) -> bool:
        return not survives(base, rung, value, others)

    searches = {
        "random, full length": (whole.model_copy(update={"search": "random"}), None),
        "TPE, full length": (whole.model_copy(update={"search": "tpe"}), None),
        "TPE and median": (base.model_copy(update={"search": "tpe"}), below_median),
        "tpe": (base.model_copy(update={"search": "tpe"}), halved),
        "promote": (base.model_copy(update={"search": "promote"}), None),
        "hybrid": (base.model_copy(update={"search": "hybrid"}), None),
    }
    rows, first = [], math.nan
    for name, (asked, stop) in searches.items():
        spent = [epochs(asked, network, Purse(table, base.ranges(network)), seed, stop) for seed in range(seeds)]
        middle = statistics.median(spent)
        first = middle if math.isnan(first) else first
        found = sum(map(math.isfinite, spent))
        rows.append([name, f"{middle:.0f}", f"{first / middle:.1f}", f"{found} of {seeds}"])
    goal = max(max(curve) for _, curve in table) * (1 - WITHIN)
    title = f"{network}: {len(table)} recipes of {rungs[-1]} epochs, goal {goal:.4f}"
    show(title, ["search", "epochs spent, median", "times fewer than random", "found it"], rows)


if __name__ == "__main__":
    for each in sorted(CURVES.glob("*.csv")):
        compare(each, int(sys.argv[1]) if len(sys.argv) > 1 else 25)
