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
from orchestrator.studies.domination import FEWEST, drop, dropped, margin
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


@pytest.mark.slow
def test_an_equal_network_is_seldom_dropped() -> None:
    assert sum(margin(*scores(seed, 0.0), "auc").dominated for seed in range(100)) <= 5


def test_a_clearly_worse_network_is_dropped_and_the_better_one_is_not() -> None:
    for seed in range(3):
        labels, worse, better = scores(seed, 1.0)
        found = margin(labels, worse, better, "auc")
        assert found.dominated
        assert found.low < found.difference < found.high < 0
        assert not margin(labels, better, worse, "auc").dominated


def test_where_less_is_better_less_is_not_worse() -> None:
    labels, worse, better = scores(0, 0.0)
    worse = worse + 1.0  # calls more of all a lens
    assert margin(labels, worse, better, "fpr").dominated
    assert not margin(labels, better, worse, "fpr").dominated


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
    labels, worse, better = scores(0, 1.0)
    alike = better + 0.1 * np.random.default_rng(1).normal(size=200)
    made = {"lens_flow": better, "lastro_epfl": worse, "wsi_net": alike}
    values = {"lens_flow": 0.9, "lastro_epfl": 0.7, "wsi_net": 0.89}
    for model, searched in searches.items():
        row(bench, model, values[model], labels, made[model])
        row(bench, model, 0.1, labels, -made[model])  # only the best of each is compared
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
    assert "behind that of lens_flow" in told
    assert MlflowClient().get_run(parent).data.tags["dropped.lastro_epfl"] == told
    assert {each.architecture: each.dropped for each in overview("small", trials)} == {
        "lens_flow": None, "lastro_epfl": told, "wsi_net": None,
    }  # fmt: skip
    row(bench, "wsi_net", 0.99, labels, worse)
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
