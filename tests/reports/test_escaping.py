"""Pages show what comes from data as text, whatever it holds; they run no script and open no address of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.data.challenge import GROUND, SPACE
from orchestrator.learning.metrics import roc
from orchestrator.reports import candidates, features, report, search, serving
from orchestrator.reports.figures import roc_page, roc_points
from orchestrator.reports.page import page as whole
from orchestrator.reports.results import Results, Row, Trial
from orchestrator.reports.verdict import verdict_page
from tests.cli.test_browser import browser, page, playwright

__all__ = ["browser", "page"]

SCRIPT = "<script>window.ran = 1</script>"
POISON = {
    "script": SCRIPT,
    "the end of a script": f"</script>{SCRIPT}",
    "the end of an attribute": "\"'><img src=x onerror='window.ran = 1'>",
    "a comment in a script": "<!--<script>",
    "a place of the page": "<!-- plotly --><!-- title -->",
    "an address": '<a href="javascript:window.ran = 1">here</a>',
    "the end of a text in JSON": f'\\"}}]; window.ran = 1; //\u2028{SCRIPT}',
    "no Unicode": "\ud800".encode("utf-8", "replace").decode() + "\x00\x0b" + SCRIPT,
}
CURVE = roc([1, 0, 1, 0], [3.0, 2.0, 2.0, -1.0])
FIGURE = {"data": [{"type": "scatter", "x": [1, 2], "y": [1, 2]}], "layout": {}}


def _report(text: str) -> str:
    metrics = {
        "auc": 0.5,
        "tpr": 0.5,
        "fpr": 0.5,
        "tpr0": 0.1,
        "tpr10": 0.2,
        "val_auc": 0.5,
        "seconds_per_image": 0.1,
        "auc_low": 0.1,
        "auc_high": 0.7,
    }
    rows = [
        Row(
            **{
                **dict.fromkeys(("trial", "recipe", "family", "dataset", "tested"), text),
                "run_id": f"{number}{text}",
                "set": "space",
                "model": text,
                "epochs": number,
                "weights": text,
                "settings": {
                    "learning_rate": f"{number}{text}",
                    "device": text,
                    "batch_size": text,
                    "seed": str(number),
                },
                "metrics": metrics,
            }
        )
        for number in (1, 2)
    ]
    settings = {"architecture": text, "epochs": "2", "digest": text, "augment": text, "seed": "0"}
    tags = {"extension": text, "dataset": text, "git_commit": text}
    curves = {name: [(1, 0.5), (2, 0.6)] for name in ("loss", "val_loss", "val_auc", "accuracy", "val_accuracy")}
    trials = [Trial(text, None, settings, tags, curves)]
    mistake = {"kind": text, "id": text, "logit": 1.0, "picture": text}
    return report.page(
        Results(
            study=text,
            definition={"description": text, "scale": text, "extension": {text: text}},
            rows=rows,
            trials=trials,
            shown=rows,
            roc={row.run_id: roc_points(CURVE) for row in rows},
            completeness={},
            mistakes={row.run_id: [mistake] for row in rows},
            search={text: {"told": text, "figures": {text: FIGURE, "none": text}}},
        )
    )


def _search(text: str) -> str:
    return whole(text, text, search.networks({text: {"told": text, "figures": {text: {**FIGURE, "name": text}}}}))


PAGES: Mapping[str, Callable[[str], str]] = {
    "report": _report,
    "search": _search,
    "verdict": lambda text: verdict_page(text, text, [(text, False, text)], [[text] * 5], {text: CURVE}),
    "roc": lambda text: roc_page(CURVE, text),
    "features": lambda text: features.page(text, text, [features.Picture(text, text, b"png")]),
    "candidates": lambda text: candidates.page(
        text, text, [candidates.Candidate(text, np.zeros((1, 101, 101), np.float32), (text, text))], SPACE
    ),
    "serving": lambda text: serving.page(f"http://{text}/", text, GROUND, 64.0),
}


class _Elements(HTMLParser):
    """Tags with their attributes, the content of scripts, and the text that is read."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self._inside = ""
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        elif self._inside != "style":
            self.text += data


@pytest.mark.filterwarnings("ignore")  # plotly's own
@pytest.mark.parametrize("poison", POISON)
@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_the_same_elements_whatever_its_data_hold(name: str, poison: str) -> None:
    plain, found = _Elements(PAGES[name]("plain")), _Elements(PAGES[name](POISON[poison]))
    assert [tag for tag, _ in found.tags] == [tag for tag, _ in plain.tags]
    for (_, attributes), (_, expected) in zip(found.tags, plain.tags, strict=True):
        assert attributes.keys() == expected.keys()
        assert not [value for value in attributes.values() if value and value.lower().startswith("javascript:")]
    assert len(found.scripts) == len(plain.scripts)
    for content, (_, attributes) in zip(
        found.scripts, [each for each in found.tags if each[0] == "script"], strict=True
    ):
        assert "</script" not in content.lower().replace("<\\/script", "")
        assert content == content.replace(SCRIPT, "")
        if attributes.get("type") == "application/json":
            assert json.loads(content)["data"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", PAGES)
def test_a_browser_runs_nothing_of_it(name: str, tmp_path: Path, page: playwright.Page) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("dialog", lambda dialog: asked.append(dialog.message))
    for poison in ("".join(POISON.values()), "".join(reversed(POISON.values()))):  # a comment might hide what follows
        (tmp_path / "page.html").write_text(PAGES[name](poison), errors="replace")
        page.goto((tmp_path / "page.html").as_uri())
        page.wait_for_load_state("networkidle")
        assert page.evaluate("() => window.ran") is None
        links: list[Any] = page.locator("a").all()
        assert not [each for each in links if (each.get_attribute("href") or "").startswith("javascript")]
        drawn = page.locator(".main-svg").count()
        assert drawn > 0 or name in ("features", "candidates", "serving")
    assert not [url for url in asked if not url.startswith(("file:", "data:", "blob:"))]
