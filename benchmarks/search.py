"""How many epochs searches need to find a good recipe, on recorded learning curves (benchmarks/curves.py).

    .venv/bin/python benchmarks/search.py [seeds]

A search draws recipes of a network, and gets those of the table that are nearest to what it draws; epochs of a recipe
that it has paid for are free when it is drawn again. Told is the number of epochs spent until a training has come
within 0.5 % of the best value in the table: the median over seeds, infinite for a search that ended without. Each
network is searched by itself, and then all in equal shares for the best of all, without dropping any.
"""

from __future__ import annotations

import csv
import json
import math
import statistics
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from _machine import show
from optuna.trial import FrozenTrial, TrialState

from orchestrator.studies import study as studies
from orchestrator.studies.ranges import Interval, Range
from orchestrator.studies.search import More, enqueue, next_step, origin_of, survives, until
from orchestrator.studies.study import Study

CURVES = Path(__file__).with_name("curves")
WITHIN = 0.005
SHORT = [1, 2, 5]
"""Epoch counts where the recorded curves are too short for two of the study's own."""

Table = list[tuple[dict[str, Any], list[float]]]
"""Of each recipe of a network what was drawn, and its value after each epoch."""

Stop = Callable[[Study, int, float, Sequence[FrozenTrial]], bool]
"""Whether a training ends at a rung, given its value there and the trials before it."""


class Spent(Exception):
    """The table's best was reached."""


class Purse:
    """Pays for epochs, and ends a search that has found a good training."""

    def __init__(self, tables: Mapping[str, Table], ranges: Mapping[str, dict[str, Range]]) -> None:
        self.tables, self.ranges = tables, ranges
        self.paid: Counter[tuple[str, int]] = Counter()
        self.goal = goal(tables)

    def nearest(self, network: str, params: dict[str, Any]) -> int:
        """The recipe of the table that is most like these settings."""
        table = self.tables[network]
        return min(range(len(table)), key=lambda number: self._distance(network, params, table[number][0]))

    def train(self, network: str, number: int, to: int) -> float:
        """Train a recipe of the table until that epoch, and return its value there."""
        curve = self.tables[network][number][1]
        for epoch in range(self.paid[network, number] + 1, to + 1):
            self.paid[network, number] = epoch
            if curve[epoch - 1] >= self.goal:
                raise Spent
        return curve[to - 1]

    def _distance(self, network: str, one: dict[str, Any], other: dict[str, Any]) -> float:
        return sum(self._apart(self.ranges[network][key], one[key], other[key]) for key in one)

    @staticmethod
    def _apart(of: Range, one: Any, other: Any) -> float:
        if not isinstance(of, Interval):
            return float(one != other)
        place = [
            (math.log(x / of.low) / math.log(of.high / of.low) if of.log else (x - of.low) / (of.high - of.low))
            for x in (one, other)
        ]
        return abs(place[0] - place[1])


def goal(tables: Mapping[str, Table]) -> float:
    """The value that a search has to come to."""
    return max(max(curve) for table in tables.values() for _, curve in table) * (1 - WITHIN)


def epochs(asked: Mapping[str, Study], tables: Mapping[str, Table], seed: int, stop: Stop | None) -> float:
    """How many a search spends until it has found a good training; infinitely many where it ends without."""
    purse = Purse(tables, {network: study.ranges(network) for network, study in asked.items()})
    try:
        search(asked, purse, seed, stop)
    except Spent:
        return purse.paid.total()
    return math.inf


def search(asked: Mapping[str, Study], purse: Purse, seed: int, stop: Stop | None) -> None:
    """Search with the project's own rules, until the table is spent or nothing is left."""
    searches = {network: optuna.create_study(direction="maximize") for network in asked}
    numbers: dict[tuple[str, int], int] = {}
    while True:
        known = {network: searched.get_trials(deepcopy=False) for network, searched in searches.items()}
        steps = {network: next_step(study, network, known[network]) for network, study in asked.items()}
        left = [network for network, step in steps.items() if step]
        if not left:
            return
        network = min(left, key=lambda each: (not isinstance(steps[each], More), len(known[each])))
        study, trials, searched = asked[network], known[network], searches[network]
        enqueue(study, network, steps[network], searched, 1000 * seed)
        trial = searched.ask()
        study.suggest(trial, network)
        origin, last = origin_of(trial), until(study, trial)
        trial.set_user_attr("origin", origin)
        trial.set_user_attr("until", last)
        number = numbers.setdefault((network, origin), purse.nearest(network, trial.params))
        value = 0.5
        for rung in [each for each in study.epochs if each <= last]:
            value = purse.train(network, number, rung)
            trial.report(value, rung)
            if stop and rung < study.epochs[-1] and stop(study, rung, value, trials):
                break
        complete = rung == study.epochs[-1]
        searched.tell(trial, value if complete else None, state=TrialState.COMPLETE if complete else TrialState.PRUNED)


def below_median(_study: Study, rung: int, value: float, others: Sequence[FrozenTrial]) -> bool:
    """The rule of Optuna's median pruner, after five trainings."""
    known = [each.intermediate_values[rung] for each in others if rung in each.intermediate_values]
    return len(known) >= 5 and value < statistics.median(known)


def halved(study: Study, rung: int, value: float, others: Sequence[FrozenTrial]) -> bool:
    """The project's rule."""
    return not survives(study, rung, value, others)


SEARCHES: dict[str, tuple[str, bool, Stop | None]] = {
    "random, full length": ("random", True, None),
    "TPE, full length": ("tpe", True, None),
    "TPE and median": ("tpe", False, below_median),
    "tpe": ("tpe", False, halved),
    "promote": ("promote", False, None),
    "hybrid": ("hybrid", False, None),
}
"""Name → the study's `search`, whether every training is whole, and when one stops."""


def compare(title: str, tables: Mapping[str, Table], seeds: int) -> None:
    """Print what each search spends."""
    base = studies.load("space-hpo")
    rows, first = [], math.nan
    for name, (how, whole, stop) in SEARCHES.items():
        asked = {}
        for network, table in tables.items():
            rungs = [each for each in base.epochs if each <= len(table[0][1])]
            rungs = rungs if len(rungs) > 1 else SHORT
            own = {"search": how, "epochs": rungs[-1:] if whole else rungs, "trials": 10 * len(table)}
            asked[network] = base.model_copy(update=own)
        spent = [epochs(asked, tables, seed, stop) for seed in range(seeds)]
        middle = statistics.median(spent)
        first = middle if math.isnan(first) else first
        found = sum(map(math.isfinite, spent))
        rows.append([name, f"{middle:.0f}", f"{first / middle:.1f}", f"{found} of {seeds}"])
    headings = ["search", "epochs spent, median", "times fewer than random", "found it"]
    show(f"{title}, goal {goal(tables):.4f}", headings, rows)


def main(seeds: int) -> None:
    """Compare on each network's table, and on all."""
    tables: dict[str, Table] = {}
    for path in sorted(CURVES.glob("*.csv")):
        with path.open(newline="") as file:
            tables[path.stem] = [
                (json.loads(row["params"]), list(map(float, row["val_auc"].split()))) for row in csv.DictReader(file)
            ]
    for network, table in tables.items():
        compare(f"{network}: {len(table)} recipes of {len(table[0][1])} epochs", {network: table}, seeds)
    compare(f"all: {sum(map(len, tables.values()))} recipes", tables, seeds)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 25)
