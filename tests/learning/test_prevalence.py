"""From the labelled share of lenses to the sky's, against populations where everything is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, binomtest, norm

from orchestrator.errors import DataError
from orchestrator.learning import prevalence
from orchestrator.learning.prevalence import corrected, survey


def posterior(scores: np.ndarray, share: float) -> np.ndarray:
    lens, other = norm.pdf(scores, 1), norm.pdf(scores, -1)
    return share * lens / (share * lens + (1 - share) * other)


def test_probabilities_at_another_share_are_those_of_a_population_with_it() -> None:
    scores = np.linspace(-4, 4, 50)
    np.testing.assert_allclose(corrected(posterior(scores, 0.4), 0.4, 0.02), posterior(scores, 0.02))
    np.testing.assert_allclose(corrected(posterior(scores, 0.02), 0.02, 0.4), posterior(scores, 0.4))
    assert corrected(np.array([0.0, 1.0]), 0.4, 0.001).tolist() == [0, 1]


def test_purity_and_completeness_are_those_of_a_resampled_set() -> None:
    rng = np.random.default_rng(3)
    labels = np.repeat([0, 1], [3000, 2000]).astype(np.int8)
    logits = rng.normal(2 * labels - 1, 1)
    probabilities = corrected(1 / (1 + np.exp(-2 * logits - np.log(2 / 3))), 0.4, 0.05)
    found = survey(labels, logits, probabilities, 0.05)
    # The sky, drawn from the labelled objects: one lens among twenty.
    sky = np.concatenate([rng.choice(logits[labels == 0], 950_000), rng.choice(logits[labels == 1], 50_000)])
    lens = np.arange(1_000_000) >= 950_000
    assert found.negatives == 3000
    assert [each.false_positives for each in found.steps] == [0, 1, 3, 10, 30, 100, 300, 1000]
    for each in found.steps[2:]:
        accepted = sky >= each.threshold
        assert each.completeness == pytest.approx(accepted[lens].mean(), abs=0.01)
        assert each.purity == pytest.approx(lens[accepted].mean(), rel=0.05)
        assert each.probability == probabilities[logits == each.threshold][0]


def test_what_was_not_measured_has_limits_alone() -> None:
    labels = np.repeat([0, 1], [500, 50]).astype(np.int8)
    logits = np.arange(550.0)
    logits[489] = 560.5  # one false positive, the highest of all
    first, *_ = survey(labels, logits, logits / 600, 0.001).steps
    assert first.false_positives == 1, "no threshold accepts lenses without it"
    exact = binomtest(1, 500, alternative="less").proportion_ci(0.95, method="exact").high
    assert first.fpr_at_most == pytest.approx(exact)
    logits[489] = 489.0
    first, *_ = survey(labels, logits, logits / 600, 0.001).steps
    assert (first.false_positives, first.completeness, first.purity) == (0, 1, 1)
    assert first.fpr_at_most == pytest.approx(3 / 500, rel=0.01), "the rule of three"
    both = 0.001 / (0.001 + first.fpr_at_most * 0.999)
    assert 0.95 * both < first.purity_at_least < both, "not all lenses may be found either"


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 2.0, float("nan")])
def test_what_is_no_share_is_refused(share: float) -> None:
    with pytest.raises(DataError, match="not a share of lenses"):
        corrected(np.array([0.5]), 0.4, share)
    with pytest.raises(DataError, match="not a share of lenses"):
        corrected(np.array([0.5]), share, 0.4)


@pytest.mark.slow
@pytest.mark.parametrize(("others", "lenses"), [(300, 50), (5000, 50), (100, 1000)])
def test_a_limit_holds_for_the_threshold_that_the_objects_give(
    others: int, lenses: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prevalence, "DRAWS", 2000)  # the limit is as good to half a per cent
    rng, labels = np.random.default_rng(2), np.repeat(np.array([0, 1], np.int8), [others, lenses])
    missed: dict[str, int] = {}
    told: dict[str, int] = {}
    for _ in range(150):
        logits = rng.normal(2.0 * labels)
        for step in survey(labels, logits, np.zeros(len(labels)), 0.01).steps:
            fpr, tpr = norm.sf(step.threshold), norm.sf(step.threshold - 2)
            purity = 0.01 * tpr / (0.01 * tpr + 0.99 * fpr)
            for name, wrong in (("fpr", fpr > step.fpr_at_most), ("purity", purity < step.purity_at_least)):
                key = f"{name} {step.false_positives}"
                missed[key], told[key] = missed.get(key, 0) + bool(wrong), told.get(key, 0) + 1
    assert {key: count for key, count in missed.items() if count > binom.ppf(0.9999, told[key], 0.07)} == {}
