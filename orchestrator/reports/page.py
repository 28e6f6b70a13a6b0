"""The parts that a report's page is put together of; its style and script are in page.html."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

TEMPLATE = Path(__file__).with_name("page.html")


def page(title: str, description: str, sections: Sequence[tuple[str, str, str]], banner: str = "") -> str:
    """A page that needs nothing else.

    Args:
        title: plain text.
        description: a line of plain text.
        sections: name, title and content of each; all but the name are HTML.
        banner: HTML above all sections.
    """
    import plotly.offline

    places = {
        "title": html.escape(title),
        "description": html.escape(description),
        "banner": banner,
        "links": " ".join(f'<a href="#{html.escape(name)}">{heading}</a>' for name, heading, _ in sections),
        "sections": "\n".join(
            f'<section id="{html.escape(name)}"><h2>{heading}</h2>\n{content}</section>'
            for name, heading, content in sections
        ),
        "plotly": plotly.offline.get_plotlyjs() if any("data-figure" in content for *_, content in sections) else "",
    }
    # In one pass: what is put in may look like a place itself.
    return re.sub(r"<!-- (\w+) -->", lambda found: places[found[1]], TEMPLATE.read_text(encoding="utf-8"))


def table(header: Sequence[str], lines: Iterable[Sequence[str]], *, safe: bool = False, sortable: bool = False) -> str:
    """A table; unless they are `safe`, cells are escaped."""
    heads = "".join(
        f'<th tabindex="0">{html.escape(each)}</th>' if sortable else f"<th>{html.escape(each)}</th>" for each in header
    )
    rows = "".join(
        "<tr>" + "".join(f"<td>{cell if safe else html.escape(cell)}</td>" for cell in cells) + "</tr>\n"
        for cells in lines
    )
    kind = ' class="sortable"' if sortable else ""
    return f'<div class="wide"><table{kind}><thead><tr>{heads}</tr></thead><tbody>\n{rows}</tbody></table></div>'


def figure(figure: Figure, name: str) -> str:
    """A place for a figure, and what the page's script draws there."""
    return drawing(figure.to_json(), name)


def drawing(content: str, name: str) -> str:
    """The same of a figure that is written in JSON."""
    content, name = content.replace("<", "\\u003c"), html.escape(name)
    place = f'<div class="figure" id="figure-{name}"></div>'
    return f'{place}<script type="application/json" data-figure="{name}">{content}</script>'


def small_print(text: str) -> str:
    """A paragraph of small print."""
    return f'<p class="note">{html.escape(text)}</p>'
