"""The page of a calibration: reliability diagrams before and after, the measures, and what a survey would see."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from orchestrator.learning.bootstrap import LEVEL
from orchestrator.learning.prevalence import CONFIDENCE, Survey
from orchestrator.learning.reliability import Bin
from orchestrator.reports.charts import COLOURS
from orchestrator.reports.page import figure, page, small_print, table

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

MEASURES = ["measure", "before", "after", "after - before", f"{LEVEL:.0%} interval"]
"""Headings of the lines of `reliability_page`."""

SURVEY = ["logit from", "probability", "completeness", "FPR", "FPR at most", "purity", "purity at least"]


def reliability_page(
    title: str,
    note: str,
    measures: Sequence[Sequence[str]],
    diagrams: Mapping[str, Sequence[Bin]],
    survey: Survey | None,
) -> str:
    """Draw it.

    Args:
        title: what was calibrated.
        note: how, and with what.
        measures: see `MEASURES`.
        diagrams: name → bins.
        survey: what is seen at the sky's share of lenses.
    """
    told = (
        "Share of lenses among objects of about one probability; on the diagonal it is what the probability says. Bars"
        " are exact 95 % intervals. The model was neither trained on these objects nor calibrated with them."
    )  # fmt: skip
    sections = [
        ("measures", "Measures", table(MEASURES, measures) + small_print("Lower is better in all of them.")),
        ("diagram", "Reliability", small_print(told) + figure(_diagram(diagrams), "reliability")),
    ]
    return page(title, note, [*sections, *_sections(survey)])


def survey_page(title: str, survey: Survey) -> str:
    """What a survey would see, by itself."""
    return page(title, "", list(_sections(survey)))


def survey_title(survey: Survey) -> str:
    """What the table of `survey_lines` is of."""
    return f"At a share of {survey.prevalence:g} lenses"


def survey_lines(survey: Survey) -> list[list[str]]:
    """The cells of a table, see `SURVEY`; where no false positive was seen, limits alone."""
    return [
        [
            *(f"{each.threshold:.3f}", f"{each.probability:.3g}", f"{each.completeness:.3f}"),
            *(f"{each.fpr:.2g}" if each.false_positives else "0 seen", f"{each.fpr_at_most:.2g}"),
            *(f"{each.purity:.2g}" if each.false_positives else "unknown", f"{each.purity_at_least:.2g}"),
        ]
        for each in survey.steps
    ]


def survey_note(survey: Survey) -> str:
    """What the labelled objects cannot tell."""
    return (
        f"False-positive rates below 1 in {survey.negatives:,}, the labelled non-lenses, are not measured; limits are"
        f" one-sided, of {CONFIDENCE:.0%}. Lenses and others of the sky are taken to look like the labelled ones."
    )


def _sections(survey: Survey | None) -> Iterator[tuple[str, str, str]]:
    if survey is not None:
        yield "survey", survey_title(survey), table(SURVEY, survey_lines(survey)) + small_print(survey_note(survey))


def _diagram(diagrams: Mapping[str, Sequence[Bin]]) -> Figure:
    import plotly.graph_objects as go

    drawn = go.Figure()
    drawn.add_scatter(x=[0, 1], y=[0, 1], mode="lines", line={"color": "#888", "dash": "dot"}, name="as it says")
    for (name, bins), colour in zip(diagrams.items(), COLOURS, strict=False):
        drawn.add_scatter(
            x=[each.probability for each in bins],
            y=[each.lenses for each in bins],
            error_y={
                "symmetric": False,
                "array": [each.highest - each.lenses for each in bins],
                "arrayminus": [each.lenses - each.lowest for each in bins],
            },
            text=[f"{each.objects:,} objects" for each in bins],
            mode="lines+markers",
            line_color=colour,
            name=name,
        )
    drawn.update_layout(
        xaxis={"title": "mean probability", "range": [0, 1]},
        yaxis={"title": "share of lenses", "range": [0, 1.01]},
        height=560,
    )
    return drawn
