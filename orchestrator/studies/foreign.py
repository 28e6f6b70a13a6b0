"""Puts somebody else's finder into the table of a study, beside our networks."""

from __future__ import annotations

from orchestrator.data.cutouts import names_digest
from orchestrator.data.scorelist import Scores
from orchestrator.errors import TrackingError
from orchestrator.learning.bootstrap import intervals
from orchestrator.learning.metrics import Roc, measure_curve
from orchestrator.reports.scores import as_list
from orchestrator.tracking import artifacts, records, runs


def record(name: str, study: str, scores: Scores, curve: Roc) -> str:
    """Record a row of somebody else's scores, and return its run.

    Args:
        name: of the finder, for the column of networks.
        study: into whose table.
        scores: of the finder.
        curve: of those scores.

    Raises:
        TrackingError: no such study, or one whose table has that name already.
    """
    rows = records.rows(study)
    if name in {row.model for row in rows}:
        raise TrackingError(f"{name}: the table of '{study}' has rows of that name (--log takes any other)")
    names = names_digest(scores.ids, scores.labels)
    experiment = records.experiment(rows[0].run_id)
    run_id = runs.begin_foreign_row(experiment, study, name, rows[0].set, names, curve.half)
    with runs.running(run_id):
        runs.log_metrics(run_id, measure_curve(curve))
        runs.log_intervals(run_id, intervals(curve))
        artifacts.log_text(run_id, as_list(scores.ids, scores.labels, scores.scores), "scores.csv")
        artifacts.log_roc(run_id, curve, name)
    return run_id
