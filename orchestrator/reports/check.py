"""What was found in a set of cutouts, as one page for the person who keeps it."""

from __future__ import annotations

from typing import Any

from orchestrator.reports import page as pages

SHOWN = 200
"""Findings of each kind on the page; the JSON has all."""


def page(document: dict[str, Any]) -> str:
    """A page that needs nothing else, of what `orchestrator.data.check.Report.document` tells."""
    sections = [("bands", "Bands", _bands(document))]
    counts = []
    for name, title, note in KINDS:
        if (found := document[name]) and (rows := _rows(found)):
            note += f" The first {SHOWN:,} of {len(rows):,}." if len(rows) > SHOWN else ""
            sections.append((name, title, pages.small_print(note) + pages.table(("object", "finding"), rows[:SHOWN])))
        counts.append((title, f"{len(_rows(found or [])):,}"))
    sections.insert(0, ("summary", "Summary", pages.table(("finding", "objects"), counts)))
    overlap = document["overlap"]
    if overlap is not None:
        rows = [[str(each["id"]), f"{each['how']} as {each['other']}"] for each in overlap["shared"]]
        told = f"{len(rows):,} objects stand also in {overlap['folder']}, which has {overlap['objects']:,}."
        content = pages.small_print(told) + (pages.table(("object", "there"), rows[:SHOWN]) if rows else "")
        sections.append(("overlap", "Overlap with the other set", content))
    labels = f"{document['lenses']:,} lenses, {document['others']:,} others"
    count = f"{document['objects']:,} {document['set']} objects: {labels}"
    banner = "" if document["clean"] else '<p class="banner">There are findings to look at.</p>'
    return pages.page(f"Check of {document['folder']}", count, sections, banner)


KINDS = (
    ("unreadable", "Unreadable", "No cutout, or one that says nothing of the sky; training leaves it out."),
    ("suspect", "Suspect", "Read well, and can hardly be right."),
    ("contradictions", "Labels that contradict each other", "The same pixels with both labels: one of them is wrong."),
    ("duplicates", "Duplicates", "Objects with the same pixels, turned or mirrored or not."),
    ("incomplete", "Incomplete", "Bands without a file."),
    ("unlabelled", "Without a label", "Objects that have files and no label."),
    ("missing", "Without files", "Objects that have a label and no files."),
)
"""Key, title and what it means."""


def _rows(found: list[Any]) -> list[list[str]]:
    """A line an object, of identifiers, of lists of them, or of identifiers with a reason."""
    lines = []
    for each in found:
        if isinstance(each, dict):
            lines.append([str(each["id"]), each["reason"]])
        elif isinstance(each, list):
            lines.append([str(each[0]), f"and {', '.join(map(str, each[1:]))}"])
        else:
            lines.append([str(each), ""])
    return lines


def _bands(document: dict[str, Any]) -> str:
    rows = [
        [
            band["name"],
            *("-" if value is None else f"{value:.3g}" for value in band["noise"].values()),
            f"{band['masked_pixels']:,}",
            "-" if band["masked_share"] is None else f"{100 * band['masked_share']:.3f} %",
        ]
        for band in document["bands"]
    ]
    head = ("band", "noise, 5 % below", "median", "95 % below", "masked pixels", "share")
    note = (
        "Noise is the standard deviation of a pixel, in the files' units, by the median absolute deviation."
        f" Pixels without a measurement are in {document['masked_objects']:,} objects."
    )
    return pages.table(head, rows) + pages.small_print(note)
