"""Confidence intervals hold what they promise: the right value, as often as they say."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from orchestrator.learning.bootstrap import FALSE, intervals, paired_intervals, share
from orchestrator.learning.metrics import METRICS, measure, roc

Floats = NDArray[np.float64]

SETS = 200
MISSES = int(stats.binom.ppf(0.999, SETS, 0.07))
"""Of so many sets, where 93 % of the intervals hold the right value, that more miss it comes once in a thousand."""

NORMAL = stats.norm()
LAWS = {
    "normal": (NORMAL, stats.norm(1.5)),
    "easy": (NORMAL, stats.norm(3)),
    "separable": (NORMAL, stats.norm(6)),
    "wide non-lenses": (stats.norm(0, 2), stats.norm(3)),
    "heavy tails": (stats.t(3), stats.t(3, 2)),
}
"""Name → the laws of the scores of non-lenses and of lenses."""


def objects(
    law: str, others: int, lenses: int, rng: np.random.Generator, step: float = 0.0
) -> tuple[NDArray[np.int64], Floats]:
    """Labels and scores, rounded to steps."""
    scores = np.concatenate(
        [each.rvs(n, random_state=rng) for each, n in zip(LAWS[law], (others, lenses), strict=True)]
    )
    return np.repeat([0, 1], [others, lenses]), np.round(scores / step) * step if step else scores


def expected(law: str, others: int, step: float = 0.0) -> dict[str, float]:
    """What sets of so many non-lenses show on average: of maxima by their own law, of lenses by theirs."""
    other, lens = LAWS[law]
    grid = (np.arange(20_000) + 0.5) / 20_000
    found = {}
    for name, false in FALSE.items():
        threshold = other.isf(stats.beta.ppf(grid, false + 1, others - false))
        found[name] = float(lens.sf(np.round(threshold / step) * step + step / 2 if step else threshold).mean())
    at = other.ppf(grid)
    low, high = (np.round(at / step) * step + sign * step / 2 if step else at for sign in (-1, 1))
    found["auc"] = float((lens.sf(low) + lens.sf(high)).mean() / 2)
    found["tpr"], found["fpr"] = (float(each.sf(step / 2)) for each in (lens, other))
    return found


@pytest.mark.parametrize("total", [1, 5, 50, 300])
def test_a_share_is_in_its_interval_in_95_of_100_cases_whatever_it_is(total: int) -> None:
    limits = np.array([share(count, total) for count in range(total + 1)])
    for true in np.linspace(0.001, 0.999, 499):
        holds = (limits[:, 0] <= true) & (true <= limits[:, 1])
        assert stats.binom(total, true).pmf(np.flatnonzero(holds)).sum() >= 0.95 - 1e-9
    assert np.isnan(share(0, 0)).all()


@pytest.mark.parametrize(("others", "lenses"), [(50, 50), (2000, 200)])
@pytest.mark.slow
def test_of_an_auc_near_one_the_interval_holds_where_few_objects_are_misplaced(others: int, lenses: int) -> None:
    rng, right, sets = np.random.default_rng(5), expected("easy", others)["auc"], 1000
    found = [intervals(roc(*objects("easy", others, lenses, rng)), resamples=2)["auc"] for _ in range(sets)]
    assert sum(low <= right <= high for low, high in found) >= 0.935 * sets


@pytest.mark.slow
@pytest.mark.parametrize(
    ("law", "others", "lenses", "step"),
    [
        ("normal", 50, 50, 0.0),
        ("normal", 300, 300, 0.0),
        ("normal", 300, 300, 0.5),
        ("easy", 300, 50, 0.0),
        ("easy", 50, 300, 0.1),
        ("separable", 50, 50, 0.0),
        ("wide non-lenses", 300, 300, 0.0),
        ("heavy tails", 300, 100, 0.0),
        ("easy", 20_000, 400, 0.0),
    ],
)
def test_every_interval_holds_what_sets_of_that_size_show_on_average(
    law: str, others: int, lenses: int, step: float
) -> None:
    rng, right = np.random.default_rng(1), expected(law, others, step)
    weight = lenses / (others + lenses)
    right["accuracy"] = weight * right["tpr"] + (1 - weight) * (1 - right["fpr"])
    missed = dict.fromkeys(METRICS, 0)
    for _ in range(SETS):
        labels, scores = objects(law, others, lenses, rng, step)
        found = intervals(roc(labels, scores), resamples=300)
        for name, (low, high) in found.items():
            missed[name] += not low - 1e-9 <= right[name] <= high + 1e-9
    assert {name: count for name, count in missed.items() if count > MISSES} == {}


def test_the_interval_of_tpr0_is_no_wider_than_sets_scatter_asks_for() -> None:
    rng = np.random.default_rng(2)
    sets = [objects("normal", 300, 300, rng) for _ in range(60)]
    scatter = np.std([measure(*each)["tpr0"] for each in sets])
    widths = [np.diff(intervals(roc(*each), resamples=300)["tpr0"]) for each in sets]
    assert 3 * scatter < np.mean(widths) < 5 * scatter


@pytest.mark.slow
@pytest.mark.parametrize(("others", "lenses"), [(50, 50), (300, 100)])
@pytest.mark.parametrize(("one", "other"), [(1.5, 1.5), (1.5, 2.0), (3.0, 3.0), (6.0, 6.0)])
def test_paired_intervals_hold_the_difference(one: float, other: float, others: int, lenses: int) -> None:
    rng = np.random.default_rng(3)
    labels = np.repeat([0, 1], [others, lenses])

    def both() -> list[Floats]:
        shared = np.sqrt(0.7) * rng.normal(size=len(labels))
        return [each * (labels - 0.5) + shared + np.sqrt(0.3) * rng.normal(size=len(labels)) for each in (one, other)]

    right = dict.fromkeys(METRICS, 0.0)
    if one != other:
        sets = [[measure(labels, each) for each in both()] for _ in range(1500)]
        right = {name: float(np.mean([b[name] - a[name] for a, b in sets])) for name in METRICS}
    missed = dict.fromkeys(METRICS, 0)
    for _ in range(100):
        found = paired_intervals(labels, *both(), resamples=200)
        for name, (low, high) in found.items():
            missed[name] += not low <= right[name] <= high
    tolerated = int(stats.binom.ppf(0.999, 100, 0.07))
    assert {name: count for name, count in missed.items() if count > tolerated} == {}


def test_pairs_tell_apart_what_two_intervals_cannot() -> None:
    rng = np.random.default_rng(4)
    labels = np.repeat([0, 1], 400)
    shared = labels + rng.normal(size=800)
    one, other = shared + 0.1 * rng.normal(size=800), shared + 0.15 * labels + 0.1 * rng.normal(size=800)
    apart = [intervals(roc(labels, each))["auc"] for each in (one, other)]
    assert apart[0][1] > apart[1][0]
    assert paired_intervals(labels, one, other)["auc"][0] > 0


def test_scores_paired_with_themselves_or_as_probabilities_differ_in_nothing() -> None:
    labels, logits = objects("normal", 60, 40, np.random.default_rng(5))
    logits[:2] = np.inf, -np.inf
    probabilities = 1 / (1 + np.exp(-logits))
    for other, half in ((logits, 0.0), (probabilities, 0.5)):
        found = paired_intervals(labels, logits, other, halves=(0.0, half))
        assert found == dict.fromkeys(METRICS, (0.0, 0.0))


def test_networks_that_make_no_mistake_are_not_certain_to() -> None:
    labels, rng = np.repeat([0, 1], 30), np.random.default_rng(6)
    one, other = (20.0 * labels - 10 + rng.normal(size=60) for _ in range(2))
    for name, (low, high) in intervals(roc(labels, one)).items():
        assert low < high, name
    for name, (low, high) in paired_intervals(labels, one, other).items():
        assert low < 0 < high, name


def test_the_same_seed_gives_the_same_interval_and_another_a_near_one() -> None:
    curve = roc(*objects("normal", 200, 200, np.random.default_rng(7)))
    first, other = intervals(curve, seed=1), intervals(curve, seed=2)
    assert intervals(curve, seed=1) == first
    assert other["tpr0"] != first["tpr0"]
    assert other["tpr0"] == pytest.approx(first["tpr0"], abs=0.03)


@pytest.mark.parametrize(
    "measured",
    [
        lambda labels, scores: intervals(roc(labels, scores)),
        lambda labels, scores: paired_intervals(labels, scores, -scores),
    ],
)
def test_nothing_is_said_of_what_is_not_known(
    measured: Callable[[NDArray[np.int64], Floats], dict[str, tuple[float, float]]],
) -> None:
    rng = np.random.default_rng(8)
    few = measured(np.repeat([0, 1], [10, 30]), rng.normal(size=40))
    assert [name for name, each in few.items() if np.isnan(each).any()] == ["tpr10"]
    for label, unknown in ((1, {"auc", "fpr", "tpr0", "tpr10"}), (0, {"auc", "tpr", "tpr0", "tpr10"})):
        with np.errstate(invalid="ignore"):
            alone = measured(np.full(20, label), rng.normal(size=20))
        assert {name for name, each in alone.items() if np.isnan(each).any()} == unknown
    tiny = measured(np.array([0, 1]), np.array([0.5, 1.0]))
    assert np.isfinite(tiny["tpr0"]).all()
