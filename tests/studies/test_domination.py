"""Networks that are dropped from a search, on made-up scores and on real stores."""

from __future__ import annotations

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState
from sklearn.metrics import roc_auc_score

from orchestrator.reports.scores import as_csv
from orchestrator.studies import storage
from orchestrator.studies import sweep as sweeps
from orchestrator.studies.bench import Bench
from orchestrator.studies.domination import FEWEST, allowed, chance, drop, dropped, worse
from orchestrator.studies.overview import overview
from orchestrator.tracking import artifacts, records, runs
from orchestrator.tracking.store import MlflowClient
from tests.studies.conftest import study
from tests.studies.test_worker import RATES, swept

pytestmark = pytest.mark.filterwarnings("ignore")


def scores(seed: int, better: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, and the logits of two networks that share what is hard; the second tells lenses apart by so much more."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1], 100)
    common = labels + rng.normal(0, 0.8, 200)
    return labels, common + rng.normal(0, 0.5, 200), common + better * labels + rng.normal(0, 0.5, 200)


def auc_of(recipes: np.ndarray) -> np.ndarray:
    """Of recipes by their logit."""
    return 1 / (1 + np.exp(-recipes))


@pytest.mark.parametrize("scatter", [0.1, 0.2, 0.4])
@pytest.mark.parametrize("survivors", [1.0, 0.5])
def test_an_equal_network_is_dropped_in_at_most_one_search_in_twenty(scatter: float, survivors: float) -> None:
    """Recipes whose AUC scatters in its logit; all of them, or the better half, as at a later epoch count."""
    rng, searches, networks, begun = np.random.default_rng(1), 4000, 3, 16
    risk, kept = allowed(networks, 1), int(begun * survivors)
    wrong = 0
    for _ in range(searches):
        values = np.sort(auc_of(rng.normal(2.0, scatter, (networks, begun))))[:, ::-1][:, :kept]
        ahead = values[np.argmax(values[:, 0])]
        wrong += any(chance(int((ahead > other[0]).sum()), begun, begun) <= risk for other in values)
    assert wrong <= 0.05 * searches


def test_the_chance_is_that_of_shuffled_recipes() -> None:
    rng, ahead, behind = np.random.default_rng(2), 8, 10
    order = np.argsort(rng.random((40_000, ahead + behind)), axis=1)
    best = order < ahead  # places that recipes of the one take, the best first
    for better in (1, 2, 4):
        assert best[:, :better].all(1).mean() == pytest.approx(chance(better, ahead, behind), abs=0.01)


def test_a_network_whose_recipes_are_far_worse_is_found_out() -> None:
    rng, risk = np.random.default_rng(3), allowed(6, 6)
    found = 0
    for _ in range(200):
        ahead, behind = rng.normal(2.0, 0.2, 8), rng.normal(1.2, 0.2, 8)
        found += chance(int((ahead > behind.max()).sum()), 8, 8) <= risk
    assert found >= 100


def test_scores_are_worse_only_beyond_the_chance_of_the_objects() -> None:
    labels, worse_one, better = scores(0, 1.0)
    assert worse(labels, worse_one, better, "auc", 0.001)
    assert not worse(labels, better, worse_one, "auc", 0.001)
    labels, one, other = scores(1, 0.0)
    assert not worse(labels, one, other, "auc", 0.001)
    assert not worse(labels, other, one, "auc", 0.001)


def test_where_less_is_better_less_is_not_worse() -> None:
    labels, _, better = scores(0, 0.0)
    more = better + 1.0  # calls more of all a lens
    assert worse(labels, more, better, "fpr", 0.01)
    assert not worse(labels, better, more, "fpr", 0.01)


def row(bench: Bench, model: str, value: float, labels: np.ndarray, logits: np.ndarray) -> None:
    run_id = runs.begin(bench.experiment, "row", model, study="small")
    runs.log_params(run_id, {"model": model, "epochs": "1", "weights": "raw", "tested": "x"})
    runs.log_tags(run_id, {"set": "space"})
    runs.log_metrics(run_id, {"val_auc": value})
    artifacts.log_text(run_id, as_csv(np.arange(len(labels)), labels.astype(np.int8), logits), "validation_scores.csv")
    runs.end(run_id, "FINISHED")


@pytest.mark.slow
def test_nothing_new_is_begun_for_a_network_that_is_dominated(bench: Bench) -> None:
    asked = study(
        architectures=["lens_flow", "lastro_epfl", "wsi_net"], epochs=[1, 2], search="promote", trials=FEWEST,
        drop_dominated=True, vary=RATES,
    )  # fmt: skip
    trials = storage.connect()
    searches = sweeps.opened(asked, trials, bench)
    labels, poor, better = scores(0, 2.0)
    alike = better + 0.1 * np.random.default_rng(1).normal(size=200)
    made = {"lens_flow": better, "lastro_epfl": poor, "wsi_net": alike}
    values = {"lens_flow": 0.9, "lastro_epfl": 0.7, "wsi_net": 0.89}
    for model, searched in searches.items():
        for number in range(FEWEST):
            noise = np.random.default_rng(number).normal(0, 0.05, 200)
            row(bench, model, values[model] - number / 100, labels, made[model] + noise)
        for number in range(FEWEST):
            searched.add_trial(
                optuna.trial.create_trial(
                    state=TrialState.PRUNED, params={"learning_rate": 1e-3},
                    distributions={"learning_rate": optuna.distributions.FloatDistribution(1e-4, 1e-2, log=True)},
                    intermediate_values={1: values[model] - number / 100}, user_attrs={"until": 1},
                )
            )  # fmt: skip
    parent = sweeps.begin(bench.experiment, asked)
    drop(asked, searches, parent)
    ((network, told),) = dropped(searches).items()
    assert network == "lastro_epfl"
    assert "at 1 epochs its best val_auc of 0.7000" in told
    assert "is behind 8 of 8 recipes of lens_flow" in told
    assert MlflowClient().get_run(parent).data.tags["dropped.lastro_epfl"] == told
    assert {each.architecture: each.dropped for each in overview("small", trials)} == {
        "lens_flow": None, "lastro_epfl": told, "wsi_net": None,
    }  # fmt: skip
    row(bench, "wsi_net", 0.99, labels, poor)
    drop(asked, searches, parent)  # what was compared once is not compared again
    assert dropped(searches) == {"lastro_epfl": told}


@pytest.mark.slow
def test_a_sweep_leaves_a_dropped_network_alone_and_finds_the_scores_to_compare_by(bench: Bench) -> None:
    asked = study(
        architectures=["lens_flow", "lastro_epfl"], epochs=[1], search="random", trials=2, vary=RATES,
        hyperparameters={"lastro_epfl": {"hidden": {"choices": [16]}}},
    )  # fmt: skip
    searches = sweeps.opened(asked, storage.connect(), bench)
    searches["lastro_epfl"].set_user_attr("dropped", "as a test has it")
    trained, failures = swept(bench, asked.model_copy(update={"drop_dominated": True}))
    assert (len(trained), failures) == (2, [])
    assert {row.model for row in records.rows("small")} == {"lens_flow"}
    for each in records.rows("small"):
        found = artifacts.scores(each.run_id, "validation_scores.csv")
        assert each.metrics["val_auc"] == pytest.approx(roc_auc_score(found.labels, found.scores))
    trained, _ = swept(bench, asked)  # the study says it does not drop any more
    assert len(trained) == 2
