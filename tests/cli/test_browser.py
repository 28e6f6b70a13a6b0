"""What a person looks at, in a real browser: a study's report, and MLflow's pages on its store.

Pictures of what was seen are left in build/screenshots.
"""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.cli.calling import Call, invoke, start
from tests.conftest import ROOT

playwright = pytest.importorskip("playwright.sync_api", reason="playwright, of the extra dev, is not installed")

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

SCREENSHOTS = ROOT / "build" / "screenshots"
PATIENCE = 60_000
"""Milliseconds to wait for a page on a busy machine."""


@pytest.fixture(scope="module")
def browser() -> Iterator[playwright.Browser]:
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no chromium on this machine (Debian's package chromium has one)")
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def page(browser: playwright.Browser) -> Iterator[playwright.Page]:
    """An empty page; a script that fails on it fails the test."""
    made = browser.new_page(viewport={"width": 1300, "height": 900}, color_scheme="light")
    made.set_default_timeout(PATIENCE)
    problems: list[str] = []
    made.on("pageerror", lambda error: problems.append(str(error)))
    yield made
    made.close()
    assert problems == []


@pytest.fixture(scope="module")
def report(swept: Path) -> str:
    """The address of the report of the study."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(swept)
        invoke("report", "--study", "tiny", "--out", "report.html")
    return (swept / "report.html").as_uri()


def test_the_report_shows_all_of_a_study(report: str, page: playwright.Page) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(report)
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []  # it needs nothing else
    assert page.locator("h1").inner_text() == "Study tiny"
    assert page.title() == "Study tiny"
    sections = [each.get_attribute("id") for each in page.locator("section").all()]
    expected = ["summary", "results", "roc", "learning", "parallel", "timing", "completeness", "mistakes", "reproduce"]
    assert sections == expected
    for name in ("roc", "learning", "parallel", "completeness"):
        page.locator(f"#figure-{name} .main-svg").first.wait_for()
    pictures = page.locator("#mistakes img")
    assert pictures.count() > 10
    assert all(each.evaluate("image => image.naturalWidth") == 101 for each in pictures.all())
    page.screenshot(path=SCREENSHOTS / "report.png", full_page=True)


def test_the_table_of_the_report_is_sorted_by_a_click(report: str, page: playwright.Page) -> None:
    page.goto(report)
    head = page.locator("#results th", has_text="TPR10")
    place = page.locator("#results th").all_inner_texts().index("TPR10")

    def values() -> list[float]:
        cells = page.locator(f"#results tbody tr td:nth-child({place + 1})").all()
        return [float(cell.inner_text().split()[0]) for cell in cells]

    before = values()
    head.click()
    assert values() == sorted(before, reverse=True)
    head.click()
    assert values() == sorted(before)
    assert head.get_attribute("aria-sort") == "ascending"
    published = page.locator("#results small.published").first
    assert not published.is_visible()
    page.locator("#published").check()
    assert published.is_visible()


def test_the_report_is_dark_on_a_dark_screen_and_light_on_paper(
    report: str, page: playwright.Page, tmp_path: Path
) -> None:
    page.emulate_media(color_scheme="dark")
    page.goto(report)
    title = page.locator("#figure-roc .xtitle")
    colour = "element => getComputedStyle(element).fill"
    ground = "() => getComputedStyle(document.body).backgroundColor"
    assert title.evaluate(colour) == "rgb(228, 232, 238)"
    assert page.evaluate(ground) == "rgb(20, 24, 29)"
    page.screenshot(path=SCREENSHOTS / "report-dark.png")
    page.emulate_media(color_scheme="light")
    page.wait_for_function("() => getComputedStyle(document.querySelector('.xtitle')).fill === 'rgb(29, 37, 48)'")
    assert page.evaluate(ground) == "rgb(255, 255, 255)"
    printed = page.pdf(path=tmp_path / "report.pdf")
    assert printed.startswith(b"%PDF")
    assert len(printed) > 50_000


SEARCH = """
data = "{data}"
architectures = ["lens_flow"]
epochs = [1, 2]
search = "promote"
trials = 4
[fixed]
normalisation = "asinh"
[vary]
learning_rate = {{ low = 1e-4, high = 1e-2, log = true }}
batch_size = {{ choices = [8, 16] }}
"""


def test_the_figures_of_a_search_are_in_its_report_and_on_a_page_of_its_own(
    call: Call, tmp_path: Path, tiny_space: Path, page: playwright.Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "searched.toml").write_text(SEARCH.format(data=tiny_space))
    call("sweep", "--study", "searched.toml")
    call("report", "--study", "searched")
    (own,) = (tmp_path / "mlartifacts").rglob("search.html")
    for shown in (tmp_path / "searched.html", own):
        page.goto(shown.as_uri())
        for name in ("history", "rungs", "slices"):
            page.locator(f"#figure-lens_flow-{name} .main-svg").first.wait_for()
        assert "of 4 trainings came to the last epoch count" in page.locator("body").inner_text()
    assert page.title() == "Search of study searched"
    page.screenshot(path=SCREENSHOTS / "search.png", full_page=True)


@pytest.fixture
def server(inside: Path) -> Iterator[str]:
    """The address of `orchestrator ui` on the store of the study."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = start("ui", "--port", str(port), at=inside)
    address = f"http://127.0.0.1:{port}"
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if "startup complete" in line:
                break
        yield address
    finally:
        process.terminate()
        try:
            process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()


def test_the_rows_are_found_and_sorted_in_mlflows_pages_and_a_roc_curve_opens(
    inside: Path, server: str, page: playwright.Page
) -> None:
    client = MlflowClient(f"sqlite:///{inside}/mlflow.db")
    experiment = client.get_experiment_by_name("tiny").experiment_id
    rows = client.search_runs([experiment], "tags.kind = 'row'", order_by=["metrics.tpr10 DESC"])
    query = urllib.parse.urlencode({
        "searchFilter": "tags.kind = 'row'",
        "orderByKey": "metrics.`tpr10`",
        "orderByAsc": "false",
        "workflowType": "machine_learning",
    })  # fmt: skip
    page.goto(f"{server}/#/experiments/{experiment}/runs?{query}")
    page.get_by_text("4 matching runs").wait_for()
    links = page.locator("a", has_text=re.compile(r"^(lens_flow|lastro_epfl) [0-9]+$"))
    links.nth(3).wait_for()
    shown = links.all_inner_texts()
    assert [next(iter(name.split())) for name in shown] == [row.data.params["model"] for row in rows]
    page.screenshot(path=SCREENSHOTS / "mlflow-rows.png")

    page.goto(f"{server}/#/experiments/{experiment}/runs/{rows[0].info.run_id}/artifacts/roc.html")
    page.frame_locator("iframe").get_by_text("false-positive rate").first.wait_for()
    page.screenshot(path=SCREENSHOTS / "mlflow-roc.png")
