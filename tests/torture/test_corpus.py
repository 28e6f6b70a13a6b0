"""Every file of the corpus is read right, skipped by name or refused in one line, by every command that takes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.torture import corpus, matrix


@pytest.mark.parametrize("kind", matrix.KINDS)
@pytest.mark.slow
def test_what_is_odd_is_read_right_and_what_is_bad_is_named(kind: str, tmp_path: Path) -> None:
    outcomes, cases = matrix.KINDS[kind][0](tmp_path), matrix.KINDS[kind][1]()
    assert outcomes.keys() == cases.keys()
    assert matrix.wrong(outcomes, cases) == {}


def test_the_corpus_has_as_many_faults_of_fits_files_as_it_says() -> None:
    cases = corpus.fits_files()
    assert sum(case.expected == corpus.BAD for case in cases.values()) >= 60
    assert sum(case.expected == corpus.READ for case in cases.values()) >= 20
