"""The page of a decision of the gate: the verdict, both ROC curves, and the intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestrator.learning.bootstrap import LEVEL
from orchestrator.learning.metrics import Roc, auc
from orchestrator.reports import charts
from orchestrator.reports.page import figure, page, small_print, table


def verdict_page(
    title: str,
    note: str,
    checks: Sequence[tuple[str, bool, str]],
    differences: Sequence[Sequence[str]],
    curves: Mapping[str, Roc],
) -> str:
    """Draw it.

    Args:
        title: who, for what, and the verdict.
        note: a line below.
        checks: condition, whether it is fulfilled, and what was found.
        differences: metric, of the champion, of the candidate, difference, and its interval.
        curves: name → curve on the same objects.
    """
    conditions = table(["condition", "", "found"], [[what, "yes" if yes else "NO", told] for what, yes, told in checks])
    sections = [("conditions", "Conditions", conditions)]
    if differences:
        header = ["metric", "champion", "candidate", "difference", f"{LEVEL:.0%} interval"]
        told = "Candidate less champion, by paired intervals of the same objects."
        drawn = charts.curves(
            [
                (f"{name}: AUC {auc(curve):.4f}", colour, curve.fpr.tolist(), curve.tpr.tolist())
                for (name, curve), colour in zip(curves.items(), charts.COLOURS, strict=False)
            ]
        )
        sections += [
            ("differences", "Differences", table(header, differences) + small_print(told)),
            ("roc", "ROC curves", figure(drawn, "roc")),
        ]
    return page(title, note, sections)
