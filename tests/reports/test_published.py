"""What was published, beside our own rows."""

from __future__ import annotations

import pytest

import architectures
from orchestrator.reports import published


@pytest.mark.parametrize(
    ("imaging", "auc", "tpr0", "tpr10"), [("space", 0.9343, 0.2411, 0.4211), ("ground", 0.9870, 0.6046, 0.7042)]
)
def test_the_best_of_the_paper_are_those_of_its_abstract_and_section_3(
    imaging: str, auc: float, tpr0: float, tpr10: float
) -> None:
    values = published.read("paper", imaging).values
    for name, best in (("auc", auc), ("tpr0", tpr0), ("tpr10", tpr10)):
        assert max(row[name] for row in values.values()) == best
    assert {key[0] for key in values if key} == set(architectures.names())


def test_the_challenge_stands_for_its_best_entry_in_each_metric_whatever_the_network() -> None:
    given = published.read("challenge", "ground").beside("lens_flow", 7)
    assert {name: round(value, 2) for name, value in given.items()} == {"auc": 0.98, "tpr0": 0.22, "tpr10": 0.45}


def test_a_row_that_was_not_published_has_nothing_beside_it() -> None:
    assert published.read("paper", "ground").beside("cmu_deeplens", 7) == {}
