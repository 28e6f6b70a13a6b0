"""The report of a study: one HTML page that needs nothing else, made of what was recorded."""

from __future__ import annotations

import html
from collections.abc import Iterator

from orchestrator.learning.bootstrap import LEVEL
from orchestrator.reports import ablation, charts, execution, provenance, published, repeats, search, tables
from orchestrator.reports import page as parts
from orchestrator.reports.page import figure, small_print, table
from orchestrator.reports.results import Results, Row, named, told_apart_by

METRICS = {name: heading for name, (heading, _) in tables.COLUMNS.items() if name != "seconds_per_image"}


def page(results: Results) -> str:
    """Write the report."""
    sections = [each for each in _sections(results) if each]
    description = str(results.definition.get("description", ""))
    return parts.page(f"Study {results.study}", description, sections, _banner(results))


def _sections(results: Results) -> Iterator[tuple[str, str, str] | None]:
    """Name, title and content of each; None of what the study does not have."""
    yield "summary", "The best of each network", _summary(results)
    yield "results", "Results", _results(results)
    yield "roc", "ROC curves", small_print(
        "The best row of each network by validation. On the logarithmic axis the leftmost point of a curve is TPR0: the"
        " share of lenses found before the first false positive."
    ) + figure(charts.roc(results), "roc")  # fmt: skip
    yield "learning", "Learning curves", figure(charts.learning(results), "learning")
    yield (
        "parallel",
        "Parallel coordinates",
        small_print("Drag along an axis to choose rows.") + figure(charts.parallel(results), "parallel"),
    )
    yield search.section(results.search)
    yield _ablation(results)
    yield _repeats(results)
    yield "timing", "Execution time", _timing(results)
    completeness = charts.completeness(results)
    if completeness is not None:
        note = "Lenses of the test set in bins of about as many each; bars are 95 % intervals of these shares, exact."
        yield "completeness", "Which lenses are found", small_print(note) + figure(completeness, "completeness")
    yield _mistakes(results)
    yield provenance.extensions(results)
    yield "reproduce", "To reproduce it", provenance.reproduce(results)


def _banner(results: Results) -> str:
    scale = results.definition.get("scale")
    if not scale:
        return ""
    told = (
        f"Scale “{scale}”: fewer images and epochs than the study itself. Good for trying it out, and for nothing else."
    )
    return f'<p class="banner">{html.escape(told)}</p>'


def _summary(results: Results) -> str:
    header = ["network", "epochs", *METRICS.values()]
    lines = [
        [row.name, str(row.epochs or "-"), *(_with_interval(row, name) for name in METRICS)] for row in results.shown
    ]
    note = (
        f"For each network the row with the best {results.maximise}; all but val AUC are of the test set,"
        f" with {LEVEL:.0%} intervals of what test sets as large would show."
    )
    return small_print(note) + table(header, lines)


def _results(results: Results) -> str:
    beside = [published.read(source, results.rows[0].set) for source in published.SOURCES]
    varied = told_apart_by(results.rows)
    header = ["network", "epochs", *varied, *METRICS.values(), "s/image", "run"]
    lines = []
    for row in results.rows:
        cells = [html.escape(row.name), str(row.epochs or "-")]
        cells += [html.escape(row.settings.get(key, "-")) for key in varied]
        for name, (_, digits) in tables.COLUMNS.items():
            value = row.metrics.get(name)
            shown = "-" if value is None else f"{value:.{digits}f}"
            for source in beside:
                given = source.beside(row.model, row.epochs).get(name)
                if given is not None:
                    shown += f'<small class="published">{source.source} {given:.{digits}f}</small>'
            cells.append(shown)
        lines.append([*cells, f'<code title="{html.escape(row.run_id)}">{html.escape(row.run_id[:8])}</code>'])
    notes = "".join(small_print(f"{each[0].upper()}{each[1:]}.") for each in tables.notes(results.rows, beside))
    switch = '<label class="switch"><input type="checkbox" id="published"> show what was published</label>'
    return f"{switch}{table(header, lines, safe=True, sortable=True)}{notes}"


def _ablation(results: Results) -> tuple[str, str, str] | None:
    pairs = ablation.pairs(results.trials)
    if not pairs:
        return None
    header = [
        "network",
        "augmentation",
        "seed",
        "data",
        "accuracy in training",
        "in validation",
        "gap",
        "stops improving at epoch",
    ]
    lines = [
        [
            *(each.model, each.augment, each.seed, named(each.data)),
            *(f"{value:.4f}" for value in (*each.last, each.gap)),
            str(each.stops_improving),
        ]
        for each in pairs
    ]  # fmt: skip
    note = (
        "Trainings on the same data that differ in augmentation alone."
        f" Accuracies are means of the last {ablation.WIDTH} epochs, those"
        " in training of the images as they were seen in passing, augmented and with dropout. Validation stops"
        f" improving (dotted) at the first epoch whose mean over {ablation.WIDTH} is within the noise of the highest."
    )
    return (
        "ablation",
        "With and without augmentation",
        (small_print(note) + figure(charts.ablation(pairs), "ablation") + table(header, lines)),
    )


def _repeats(results: Results) -> tuple[str, str, str] | None:
    cells = repeats.repeats(results.rows)
    if not cells:
        return None
    header = ["network", "epochs", "data", "repeats", *METRICS.values()]
    lines = [
        [cell.name, str(cell.epochs), named(cell.data), str(cell.count)]
        + [f"{cell.mean[name]:.4f} ± {cell.deviation[name]:.4f}" if name in cell.mean else "-" for name in METRICS]
        for cell in cells
    ]
    changed = [
        [METRICS[name], f"{100 * each.mean:.2f} %", f"{100 * each.largest:.2f} %", each.where]
        for name, each in repeats.changes(cells).items()
    ]
    note = (
        f"Mean and standard deviation of repeats. {'; '.join(repeats.pooled(cells))}. Below, the mean and the"
        " largest change between two repeats; the paper reports 0.96 % and 2.97 % for the Space set, 0.39 % and 2.99 %"
        " for the Ground set, without saying of which metric."
    )
    return (
        "repeats",
        "Repeats",
        (
            small_print(note)
            + table(header, lines)
            + table(["metric", "mean change", "largest change", "where"], changed)
        ),
    )


def _timing(results: Results) -> str:
    given = published.read("paper", results.rows[0].set)
    header = [
        "network",
        "device",
        "batch",
        "s/image, end to end",
        "network alone",
        "cold start (s)",
        "rows",
        "outliers",
    ]
    header.append("paper, s/image")
    lines = []
    for each in execution.executions(results.rows):
        values = [f"{each.end_to_end:.5f}", f"{each.alone:.5f}", f"{each.cold:.2f}"]
        paper = next((given.beside(each.model, row.epochs).get("seconds_per_image") for row in results.rows
                      if row.model == each.model and given.beside(each.model, row.epochs)), None)  # fmt: skip
        counts = [str(each.rows), str(each.outliers), "-" if paper is None else f"{paper:.4f}"]
        lines.append([each.model, each.device, each.batch_size, *values, *counts])
    note = (
        "Averaged over the rows of a network, outliers left out, as the paper does. End to end is warm: from files that"
        " have been read before to the score. The paper's times are of another machine."
    )
    return small_print(note) + table(header, lines)


def _mistakes(results: Results) -> tuple[str, str, str] | None:
    blocks: list[str] = []
    for row in results.shown:
        kinds: dict[str, list[str]] = {}
        for each in results.mistakes.get(row.run_id, []):
            identifier = html.escape(str(each["id"]))
            kinds.setdefault(each["kind"], []).append(
                f'<figure><img alt="object {identifier}" src="data:image/png;base64,{html.escape(each["picture"])}">'
                f"<figcaption>{identifier}<br>{each['logit']:.2f}</figcaption></figure>"
            )
        pictures = "".join(
            f'<h4>{html.escape(kind)}</h4><div class="pictures">{"".join(figures)}</div>'
            for kind, figures in kinds.items()
        )
        if pictures:
            opened = " open" if not blocks else ""
            title = html.escape(row.name) + (f", {row.epochs} epochs" if row.epochs else "")
            blocks.append(f"<details{opened}><summary>{title}</summary>{pictures}</details>")
    if not blocks:
        return None
    note = "Of the test set, with identifier and logit; scores above 0 are called lenses."
    return "mistakes", "The worst mistakes", small_print(note) + "\n".join(blocks)


def _with_interval(row: Row, name: str) -> str:
    value, low, high = (row.metrics.get(f"{name}{end}") for end in ("", "_low", "_high"))
    if value is None:
        return "-"
    return f"{value:.4f}" if low is None or high is None else f"{value:.4f} ({low:.3f}–{high:.3f})"
