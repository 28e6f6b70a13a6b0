"""What makes a training, or what it was tested on, the same: recipe, data and test set. On real stores."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path

import numpy as np
import pytest

from orchestrator.data import cache
from orchestrator.data.cutouts import Cutouts, Objects, names_digest, objects_digest
from orchestrator.errors import StudyError
from orchestrator.learning.recipe import Recipe
from orchestrator.reports.scores import as_csv
from orchestrator.studies import storage, sweep, trial
from orchestrator.studies.bench import Bench
from orchestrator.studies.comparison import compare, on_same_objects
from orchestrator.studies.evaluation import log_scored
from orchestrator.tracking import artifacts, records, runs
from tests.studies.conftest import NORMALISATION, study

pytestmark = pytest.mark.filterwarnings("ignore")

RECIPE = Recipe(architecture="lens_flow", normalisation=NORMALISATION, epochs=2, seed=5)


def harder(cutouts: Cutouts) -> Cutouts:
    """The same objects by name and label, with other pixels."""
    return dataclasses.replace(
        cutouts, pixels=cutouts.pixels[::-1].copy(), content=cutouts.content ^ np.uint64(1), digest="f" * 16
    )


def on(bench: Bench, cutouts: Cutouts) -> Bench:
    return dataclasses.replace(bench, test={NORMALISATION: cutouts})


def trained(bench: Bench, stop_after: int | None = None) -> list[int]:
    """The epochs that were done; ends like a kill after one of them."""
    done = []
    with contextlib.closing(trial.run(RECIPE, [1, 2], bench, None, "one")) as epochs:
        for epoch in epochs:
            done.append(epoch.number)
            if epoch.number == stop_after:
                break
    return done


@pytest.mark.slow
def test_a_training_goes_on_with_the_test_set_that_it_was_begun_with_alone(bench: Bench) -> None:
    easy = bench.cutouts[NORMALISATION]
    sets = {"its own part": bench, "all of it": on(bench, dataclasses.replace(easy)), "others": on(bench, harder(easy))}
    for each in sets.values():  # each is killed, and none is taken for another
        assert trained(each, stop_after=1) == [1]
    for each in sets.values():
        assert trained(each) == [2]
        assert trained(each) == [2]  # told again, and not trained again
    rows = records.rows("small")
    assert len(rows) == 6
    tested = {artifacts.objects(row.run_id, "tested_on.npz").content.tobytes() for row in rows}  # type: ignore[union-attr]
    assert len(tested) == len({row.trial for row in rows}) == len({row.tested for row in rows}) == 3


def test_a_study_goes_on_with_the_test_set_that_it_was_begun_with_alone(bench: Bench) -> None:
    asked, opened = study(test_data="there"), storage.connect()
    easy = on(bench, bench.cutouts[NORMALISATION])
    sweep.opened(asked, opened, easy)
    sweep.opened(asked, opened, easy)
    digest = bench.data_digest
    changed = rf"begun with test_data_digest = '{digest}', and it is '{'f' * 16}' now; put it back"
    with pytest.raises(StudyError, match=changed):
        sweep.opened(asked, opened, on(bench, harder(bench.cutouts[NORMALISATION])))
    with pytest.raises(StudyError, match=r"begun with test_data = 'there', and it is None now"):
        sweep.opened(study(), opened, bench)


def test_a_study_that_was_begun_before_test_sets_had_digests_opens_and_keeps_todays(bench: Bench) -> None:
    asked, opened = study(test_data="there"), storage.connect()
    easy = on(bench, bench.cutouts[NORMALISATION])
    searched = sweep.opened(asked, opened, easy)["lens_flow"]
    definition = dict(searched.user_attrs["definition"])
    del definition["test_data_digest"]
    searched.set_user_attr("definition", definition)
    sweep.opened(asked, opened, easy)
    with pytest.raises(StudyError, match="test_data_digest"):
        sweep.opened(asked, opened, on(bench, harder(bench.cutouts[NORMALISATION])))


IDS, CONTENT, LABELS = np.array([7, 8, 9]), np.array([70, 80, 2**64 - 1], np.uint64), np.array([1, 0, 1], np.int8)


def digest(ids: np.ndarray = IDS, content: np.ndarray = CONTENT, labels: np.ndarray = LABELS) -> str:
    return objects_digest(names_digest(ids.tolist(), labels), Objects(ids, content))


def test_objects_are_the_same_by_identifier_label_and_pixels_in_any_order() -> None:
    backwards = slice(None, None, -1)
    assert digest(IDS[backwards], CONTENT[backwards], LABELS[backwards]) == digest()
    others = [digest(IDS + 1), digest(content=CONTENT[backwards]), digest(labels=LABELS[[1, 0, 2]])]
    assert len({digest(), *others}) == 4
    assert names_digest(["7", "8", "9"], LABELS) == names_digest(IDS.tolist(), LABELS)


def test_objects_are_the_same_however_they_are_normalised_and_with_other_pixels_they_are_not(
    tiny_space: Path, tmp_path: Path
) -> None:
    found, rows = [], np.arange(10)
    for normalisation in ("asinh", "none"):
        for _ in cache.build(tiny_space, normalisation, tmp_path, workers=1):
            pass
        cutouts = cache.load(tiny_space, normalisation, tmp_path)
        assert cutouts is not None
        found.append(runs.tested_on(cutouts, rows))
    assert found[0] == found[1]
    other = runs.tested_on(harder(cutouts), rows)
    assert (other["tested.names"] == found[0]["tested.names"], other["tested"] == found[0]["tested"]) == (True, False)


def recorded(bench: Bench, cutouts: Cutouts, *, before: bool = False, listed: bool = True) -> str:
    """The run of an evaluation whose scores are the objects' brightest pixels; `before` pixels were in the digest."""
    run_id = runs.begin(bench.experiment, "evaluation", "one")
    rows = np.arange(40)
    scores = cutouts.pixels[rows].reshape(40, -1).max(1).astype(np.float64)
    if before:  # it had the identifiers' and labels' under this key
        names = runs.tested_on(cutouts, rows)["tested.names"]
        runs.log_params(run_id, {"tested": names, "dataset": "x", "dataset.digest": cutouts.digest, "half": "0"})
        artifacts.log_text(run_id, as_csv(cutouts.ids[rows], cutouts.labels[rows], scores), "scores.csv")
        runs.log_tags(run_id, {"set": "space"})
        if listed:
            artifacts.log_objects(run_id, "tested_on.npz", cutouts.objects(rows))
    else:
        log_scored(run_id, "one", cutouts, rows, scores, scores, 0.0)
    runs.log_params(run_id, {"model": "one"})
    return run_id


@pytest.mark.slow
def test_only_results_on_the_same_pixels_are_paired_those_of_before_too(bench: Bench) -> None:
    easy = bench.cutouts[NORMALISATION]
    hard = harder(easy)
    now, again, other = (recorded(bench, each) for each in (easy, easy, hard))
    old, old_again, old_other = (recorded(bench, each, before=True) for each in (easy, easy, hard))
    unlisted = [recorded(bench, easy, before=True, listed=False) for _ in range(2)]
    alike = [(now, again), (now, old), (old, old_again), (other, old_other)]
    unlike = [(now, other), (now, old_other), (old, old_other), (old, other), (now, unlisted[0]), tuple(unlisted)]
    assert [compare(*pair).objects for pair in alike] == [40] * 4
    assert [compare(*pair).objects for pair in unlike] == [0] * 6


def test_somebody_elses_scores_are_paired_by_identifier_and_label(bench: Bench) -> None:
    cutouts = bench.cutouts[NORMALISATION]
    names = names_digest([str(each) for each in cutouts.ids[:40]], cutouts.labels[:40])
    theirs = [
        records.row(runs.begin_foreign_row(bench.experiment, "small", "it", "space", each, 0.5))
        for each in (names, "another")
    ]
    for ours in (recorded(bench, cutouts), recorded(bench, cutouts, before=True, listed=False)):
        assert [on_same_objects(records.row(ours), each) for each in theirs] == [True, False]
    assert not on_same_objects(*theirs)
