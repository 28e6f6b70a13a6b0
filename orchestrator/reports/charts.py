"""The figures of a study's report, for plotly; their colours come from the page, which is light or dark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from orchestrator.learning.completeness import QUANTITIES
from orchestrator.learning.metrics import sign
from orchestrator.reports.ablation import Accuracy
from orchestrator.reports.results import Results, Row, Trial, told_apart_by, whole

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

COLOURS = ("#3b82c4", "#e07b39", "#3a9d5d", "#c74f6b", "#8c6bb1", "#9a8530", "#4aa5a5", "#a0a0a0")
"""Told apart on white and on black."""

CORNERS = 400
"""Of a ROC curve that are drawn; those of the first false positives are all among them."""

TRIALS = 12
"""Learning curves that are drawn at most, the best."""

HEADINGS = {"tpr": "found at probability 0.5", "tpr10": "found with ten false positives at most"}


def roc(results: Results) -> Figure:
    """The ROC curves of a report."""
    return curves(
        [
            (f"{_title(row)}: AUC {row.metrics['auc']:.4f}", colour, points["fpr"], points["tpr"])
            for row, colour in _coloured(results.shown)
            if (points := results.roc.get(row.run_id)) is not None
        ]
    )


def curves(drawn: Sequence[tuple[str, str, Sequence[float], Sequence[float]]]) -> Figure:
    """TPR over FPR, on a logarithmic axis where TPR0 and TPR10 live; no false positive stands at half of one.

    Args:
        drawn: name, colour, FPR and TPR of each.
    """
    import plotly.graph_objects as go

    figure, negatives = go.Figure(), set()
    for name, colour, *points in drawn:
        fpr, tpr = map(np.array, points)
        one = float(fpr[fpr > 0].min()) if (fpr > 0).any() else 1.0  # at most a few false positives at once
        negatives.add(one)
        kept = _thinned(fpr, CORNERS)
        x = np.maximum(fpr[kept], one / 2)
        figure.add_scatter(x=x.tolist(), y=tpr[kept].tolist(), mode="lines", line_color=colour, name=name)
    lowest = np.log10(min(negatives, default=0.01) / 2)
    log = {"xaxis.type": "log", "xaxis.range": [lowest, 0]}
    linear = {"xaxis.type": "linear", "xaxis.range": [0, 1]}
    buttons = [
        {"label": label, "method": "relayout", "args": [args]} for label, args in (("log", log), ("linear", linear))
    ]
    figure.update_layout(
        xaxis={"title": "false-positive rate", "type": "log", "range": [lowest, 0]},
        height=560,
        yaxis={"title": "true-positive rate", "range": [0, 1.01]},
        updatemenus=[
            {
                "type": "buttons",
                "direction": "right",
                "x": 1,
                "xanchor": "right",
                "y": 1.12,
                "buttons": buttons,
                "showactive": False,
            }
        ],
    )
    return figure


def learning(results: Results) -> Figure:
    """Loss and the metric that decides by epoch; dashed in training, solid in validation."""
    from plotly.subplots import make_subplots

    metric, trials = results.maximise, whole(results.trials)
    last = {trial.run_id: trial.curves[metric][-1][1] for trial in trials if metric in trial.curves}
    shown = sorted(
        (trial for trial in trials if trial.run_id in last), key=lambda trial: -sign(metric) * last[trial.run_id]
    )
    figure = make_subplots(rows=1, cols=2, subplot_titles=("loss (dashed: training)", metric.replace("_", " ")))
    names = list(dict.fromkeys(row.model for row in results.shown))
    labels = _labels(shown[:TRIALS])
    for number, trial in enumerate(shown[:TRIALS]):
        several = len({each.model for each in shown[:TRIALS]}) < len(shown[:TRIALS])
        colour = COLOURS[(number if several else names.index(trial.model)) % len(COLOURS)]
        for column, curve, dash in ((1, "loss", "dash"), (1, "val_loss", "solid"), (2, metric, "solid")):
            points = trial.curves.get(curve, [])
            figure.add_scatter(
                x=[epoch for epoch, _ in points],
                y=[value for _, value in points],
                mode="lines" if len(points) > 1 else "markers",
                line={"color": colour, "dash": dash, "width": 1.6},
                name=labels[number],
                legendgroup=trial.run_id,
                showlegend=column == 2,
                row=1,
                col=column,
            )
    figure.update_xaxes(title="epoch")
    figure.update_yaxes(type="log", col=1)
    return figure


def parallel(results: Results) -> Figure:
    """Every row as a line through its settings and its metrics."""
    import plotly.graph_objects as go

    rows = [row for row in results.rows if row.epochs is not None]
    dimensions = [_dimension("network", [row.name for row in rows])]
    dimensions.append({"label": "epochs", "values": [row.epochs for row in rows]})
    for setting in told_apart_by(rows):
        values = [row.settings.get(setting, "-") for row in rows]
        label = setting.removeprefix("hyperparameters.")
        try:
            dimensions.append({"label": label, "values": [float(value) for value in values]})
        except ValueError:
            dimensions.append(_dimension(label, values))
    for metric in ("auc", "tpr0", "tpr10"):
        dimensions.append({"label": metric.upper(), "values": [row.metrics[metric] for row in rows]})
    colours = [row.metrics.get(results.maximise, row.metrics["auc"]) for row in rows]
    line = {"color": colours, "colorscale": "Viridis", "showscale": True, "colorbar": {"title": results.maximise}}
    return go.Figure(go.Parcoords(dimensions=dimensions, line=line, labelangle=-25))


def ablation(pairs: Sequence[Accuracy]) -> Figure:
    """Accuracy by epoch in training and in validation, a panel for each training."""
    from plotly.subplots import make_subplots

    titles = [f"{each.model}, augmentation: {each.augment}" for each in pairs]
    figure = make_subplots(rows=-(-len(pairs) // 2), cols=min(2, len(pairs)), subplot_titles=titles, shared_yaxes="all")
    for number, each in enumerate(pairs):
        place = {"row": number // 2 + 1, "col": number % 2 + 1}
        for name, curve, colour in (
            ("training", each.training, COLOURS[1]),
            ("validation", each.validation, COLOURS[0]),
        ):
            figure.add_scatter(
                x=[epoch for epoch, _ in curve],
                y=[value for _, value in curve],
                mode="lines",
                line_color=colour,
                name=name,
                legendgroup=name,
                showlegend=number == 0,
                **place,
            )
        figure.add_vline(each.stops_improving, line_dash="dot", line_color=COLOURS[0], **place)
    figure.update_yaxes(title="accuracy", col=1)
    figure.update_xaxes(title="epoch", row=-(-len(pairs) // 2))
    figure.update_layout(height=90 + 260 * -(-len(pairs) // 2))
    return figure


def completeness(results: Results) -> Figure | None:
    """The share of lenses that are found, by what is known of them; None where nothing is."""
    from plotly.subplots import make_subplots

    known = [name for name in QUANTITIES if any(name in each for each in results.completeness.values())]
    if not known:
        return None
    cells = [(quantity, metric) for quantity in known for metric in HEADINGS]
    figure = make_subplots(
        rows=len(known), cols=2, shared_yaxes="all", subplot_titles=list(HEADINGS.values()),
        vertical_spacing=0.35 / (len(known) + 1),
    )  # fmt: skip
    for row, colour in _coloured(results.shown):
        for number, (quantity, metric) in enumerate(cells):
            bins = results.completeness.get(row.run_id, {}).get(quantity, {}).get(metric, [])
            shares = [each["found"] / each["lenses"] for each in bins]
            figure.add_scatter(
                x=_centres(bins),
                y=shares,
                error_y={
                    "type": "data",
                    "array": [each["highest"] - share for each, share in zip(bins, shares, strict=True)],
                    "arrayminus": [share - each["lowest"] for each, share in zip(bins, shares, strict=True)],
                    "thickness": 0.7,
                    "width": 0,
                },
                customdata=[[each["low"], each["high"], each["found"], each["lenses"]] for each in bins],
                hovertemplate="%{customdata[0]:.3g} to %{customdata[1]:.3g}: %{customdata[2]} of %{customdata[3]}",
                mode="lines+markers",
                line={"color": colour, "width": 1.4},
                name=_title(row),
                legendgroup=row.run_id,
                showlegend=number == 0,
                row=number // 2 + 1,
                col=number % 2 + 1,
            )
    for number, quantity in enumerate(known, start=1):
        figure.update_xaxes(title=QUANTITIES[quantity].title, type="log", row=number)
    figure.update_yaxes(range=[0, 1.02])
    figure.update_yaxes(title="share found", col=1)
    figure.update_layout(height=80 + 290 * len(known))
    return figure


def _coloured(rows: Sequence[Row]) -> list[tuple[Row, str]]:
    return [(row, COLOURS[number % len(COLOURS)]) for number, row in enumerate(rows)]


def _title(row: Row) -> str:
    return row.name if row.epochs is None else f"{row.name}, {row.epochs} epochs"


def _labels(trials: Sequence[Trial]) -> list[str]:
    """What tells trainings apart: the network, and settings that differ."""
    keys = [
        key
        for key in dict.fromkeys(key for trial in trials for key in trial.settings)
        if key not in ("architecture", "digest") and len({trial.settings.get(key) for trial in trials}) > 1
    ]
    return [", ".join([trial.model, *(f"{key} {trial.settings.get(key, '-')}" for key in keys)]) for trial in trials]


def _dimension(label: str, values: Sequence[str]) -> dict[str, Any]:
    """An axis of names, for parallel coordinates."""
    names = sorted(set(values))
    places = [names.index(value) for value in values]
    return {"label": label, "values": places, "tickvals": list(range(len(names))), "ticktext": names}


def _thinned(fpr: np.ndarray[Any, np.dtype[np.float64]], count: int) -> np.ndarray[Any, np.dtype[np.intp]]:
    """Places of corners to draw: evenly over the logarithm of FPR and over FPR, and both ends."""
    if len(fpr) <= count:
        return np.arange(len(fpr))
    wanted = np.concatenate(
        [[0], np.geomspace(max(fpr[fpr > 0].min(), 1e-9), 1, count // 2), np.linspace(0, 1, count // 2)]
    )
    places = np.searchsorted(fpr, wanted, side="right") - 1  # the highest corner at each rate
    return np.unique(np.clip(np.append(places, len(fpr) - 1), 0, None))


def _centres(bins: Sequence[Any]) -> list[float]:
    """Of bins on a logarithmic axis; one of zeros alone stands left of all others."""
    least = min((each["low"] for each in bins if each["low"] > 0), default=1.0)
    return [float(np.sqrt(max(each["low"], least / 2) * max(each["high"], least / 2))) for each in bins]
