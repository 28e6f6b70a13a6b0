"""The figures of a search, as recorded: what was found by when, the values at each epoch, and what mattered how."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

from orchestrator.json_text import as_json
from orchestrator.reports.page import drawing, small_print

Search = Mapping[str, Mapping[str, Any]]
"""Network → ``told``, a line on it, and ``figures``, name → figure as plotly has it in JSON, or why there is none."""


def networks(search: Search) -> list[tuple[str, str, str]]:
    """Name, title and content of a section for each network."""
    return [
        (
            name,
            html.escape(name),
            small_print(each["told"]) + "".join(_figure(name, *figure) for figure in each["figures"].items()),
        )
        for name, each in search.items()
    ]


def section(search: Search) -> tuple[str, str, str] | None:
    """All networks in one section; None where nothing was searched."""
    if not search:
        return None
    content = "".join(f"<h3>{title}</h3>{content}" for _, title, content in networks(search))
    return "search", "The search", content


def _figure(network: str, name: str, figure: Mapping[str, Any] | str) -> str:
    if isinstance(figure, str):
        return small_print(f"no {name} yet: {figure}")
    return drawing(as_json(figure), f"{network}-{name}")
