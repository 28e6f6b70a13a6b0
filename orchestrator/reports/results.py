"""What is recorded of a study, read back: the rows of its table, and the trainings they are steps of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.learning.metrics import sign

RAW, EMA = "raw", "ema"
"""Which weights a row is of: the network's own, or their running average."""

NAMES = "tested.names"
"""Setting of a row: the digest of the identifiers and labels of the objects that it was tested on, without pixels."""

Curve = list[tuple[int, float]]
"""Epoch and value, ascending."""


@dataclass(frozen=True)
class Row:
    """One training at one of its epoch counts, as it was recorded.

    Attributes:
        run_id: where.
        trial: run of its training; of somebody else's scores their own.
        recipe: digest of everything that decides the training.
        family: digest of the same without the seeds: repeats of one training share it.
        set: ``space`` or ``ground``.
        dataset: digest of what it was trained on.
        tested: digest of the objects it was tested on, pixels and labels included: rows that share it are comparable.
            Of somebody else's scores, and of rows from before pixels were included, the same as `names`.
        model: the network, or the name of somebody else's finder.
        epochs: None of somebody else's.
        weights: ``raw`` or ``ema``.
        settings: of the recipe, and of how times were measured.
        metrics: name → value, intervals and validation too.
    """

    run_id: str
    trial: str
    recipe: str
    family: str
    set: str
    dataset: str
    tested: str
    model: str
    epochs: int | None
    weights: str = RAW
    settings: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The network, and which of its weights if not the usual ones."""
        return self.model if self.weights == RAW else f"{self.model} {self.weights.upper()}"

    @property
    def names(self) -> str:
        """Digest of the identifiers and labels alone of the objects that it was tested on."""
        return self.settings.get(NAMES, self.tested)

    @property
    def data(self) -> tuple[str, str]:
        """Digests of the set it was trained on, and of the objects of a set of its own to test on, if there was one.

        Equal of trainings on the same data, on whichever parts of it.
        """
        return self.dataset, self.tested if "test_dataset" in self.settings else ""

    @property
    def foreign(self) -> bool:
        """Whether it is of somebody else's scores: of what pixels is not on record."""
        return "dataset" not in self.settings

    @property
    def seed(self) -> str:
        """Of the training; empty of somebody else's."""
        return self.settings.get("seed", "")

    @property
    def half(self) -> float:
        """The score that stands for probability 0.5: 0 of logits; somebody else's may be probabilities."""
        return float(self.settings.get("half", 0))


@dataclass(frozen=True)
class Trial:
    """One training: what decided it, what it ran on, and its curves by epoch.

    Attributes:
        run_id: where it is recorded.
        extends: run of the training that it went on from, or None.
        settings: of the recipe.
        tags: its data, the device, versions, commit, and what was decided on extending it.
        curves: metric → its curve; an extension's begins after the epochs of what it extends.
        finished: whether it came to its end, or to where it was stopped.
    """

    run_id: str
    extends: str | None
    settings: Mapping[str, str]
    tags: Mapping[str, str]
    curves: Mapping[str, Curve]
    finished: bool = True

    @property
    def data(self) -> tuple[str, str]:
        """Digests of the set it was trained on, and of a set of its own to test on, if there was one."""
        own = self.tags.get("test_dataset.digest", "") if "test_dataset" in self.tags else ""
        return self.tags.get("dataset.digest", ""), own

    @property
    def model(self) -> str:
        """The network."""
        return self.settings["architecture"]

    @property
    def epochs(self) -> int:
        """The last one that is done."""
        return max((curve[-1][0] for curve in self.curves.values()), default=0)


@dataclass(frozen=True)
class Results:
    """All of a study that a report shows.

    Attributes:
        study: its name.
        definition: what its run says of it.
        rows: of its table.
        trials: its trainings.
        shown: the best row of each network by validation, and somebody else's rows: those with the following.
        roc: run of a row → its curve, as `orchestrator.reports.figures.roc_points` writes it.
        completeness: run of a row → quantity → metric → bins.
        mistakes: run of a row → its worst mistakes, each with its picture in base64.
        search: figures of the search, as `orchestrator.reports.search` has them; empty of a grid.
    """

    study: str
    definition: Mapping[str, Any]
    rows: Sequence[Row]
    trials: Sequence[Trial]
    shown: Sequence[Row]
    roc: Mapping[str, Mapping[str, Sequence[float]]]
    completeness: Mapping[str, Mapping[str, Mapping[str, Sequence[Mapping[str, float]]]]]
    mistakes: Mapping[str, Sequence[Mapping[str, Any]]]
    search: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def maximise(self) -> str:
        """The metric that decides, of the validation set."""
        return f"val_{self.definition.get('maximise', 'auc')}"


def named(data: tuple[str, str]) -> str:
    """What something was trained on, and tested on if that is another set, by digests."""
    return " tested on ".join(filter(None, data))


def whole(trials: Sequence[Trial]) -> list[Trial]:
    """Trainings with what extended them as one, under the settings of the longest: its curves from the first epoch on.

    Several may have extended the same one, to some epochs each.
    """
    found = []
    for base in trials:
        if base.extends:
            continue
        line = [base]
        for each in line:
            line += [trial for trial in trials if trial.extends == each.run_id]
        longest = max(line, key=lambda trial: trial.epochs)
        found.append(replace(longest, curves=joined(line)))
    return found


def joined(line: Sequence[Trial]) -> dict[str, Curve]:
    """The curves of a training and of what went on from it, each epoch once."""
    points: dict[str, dict[int, float]] = {}
    for each in line:
        for name, curve in each.curves.items():
            points.setdefault(name, {}).update(curve)
    return {name: sorted(each.items()) for name, each in points.items()}


def best(rows: Sequence[Row], metric: str) -> list[Row]:
    """The best row of each network, the best network first; by a metric of the validation set."""
    scored = (row for row in rows if metric in row.metrics)
    ranked = sorted(scored, key=lambda row: sign(metric) * row.metrics[metric], reverse=True)
    found: dict[str, Row] = {}
    for row in ranked:
        found.setdefault(row.model, row)
    return list(found.values())


NOT_SETTINGS = ("model", "epochs", "half", "weights", "tested", "seed", "dataset", "test_dataset", "split_seed")


def settings(row: Row) -> dict[str, str]:
    """What was decided for a training, but for its network, epochs and seeds; nothing of somebody else's."""
    return {key: each for key, each in row.settings.items() if key not in NOT_SETTINGS and not _is_note(key)}


def varying(rows: Sequence[Row]) -> list[str]:
    """The settings that rows differ in, beside network, epochs and seeds."""
    values: dict[str, set[str]] = {}
    for row in rows:
        for key, each in settings(row).items():
            values.setdefault(key, set()).add(each)
    return [key for key, each in values.items() if len(each) > 1]


def told_apart_by(rows: Sequence[Row]) -> list[str]:
    """The same, and the seed where there are several."""
    seeds = {row.seed for row in rows if row.epochs is not None}
    return [*(["seed"] if len(seeds) > 1 else []), *varying(rows)]


def _is_note(key: str) -> bool:
    return key.startswith(("timing.", "recipe.", "dataset.", "tested.", "ensemble."))
