"""A visitor in a real browser: overview -> model -> head -> token -> SQL, and what is shown there.

Needs Chromium on the path (`chromium`, `chromium-browser` or `google-chrome`); without one these
tests are skipped.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import app.main
from tests.app_runs import publish_run

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, ViewportSize

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on the path")
# Streamlit asks for these below every page's own address before it asks at the root.
LOOKED_FOR = ("_stcore/health", "_stcore/host-config")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("published")
    publish_run(root, "small", seed=1, ablations=["resample"])
    publish_run(root, "large", details=True, seed=2, n_layers=4, n_sequences=12)
    return root


@pytest.fixture(scope="module")
def address(root: Path) -> Iterator[str]:
    """A server over the warehouse."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    place = Path(app.main.__file__)
    with subprocess.Popen(
        [sys.executable, "-m", "streamlit", "run", str(place), f"--server.port={port}"],
        cwd=place.parent.parent,
        env=os.environ
        | {"SELFREPAIR_WAREHOUSE": str(root), "PYTHONPATH": str(place.parent.parent)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as server:
        try:
            _wait_for(f"http://localhost:{port}/_stcore/health")
            yield f"http://localhost:{port}"
        finally:
            server.terminate()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_api.sync_playwright() as play:
        chromium = play.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield chromium
        chromium.close()


class Visit:
    """A browser tab that remembers every error."""

    def __init__(self, browser: Browser, **options: Any) -> None:
        viewport: ViewportSize = {"width": 1280, "height": 1000}
        self.context = browser.new_context(viewport=viewport, **options)
        self.page = self.context.new_page()
        self.page.set_default_timeout(30_000)
        self.errors: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self._console)

    def _console(self, message: ConsoleMessage) -> None:
        url = str(message.location.get("url", ""))
        if message.type == "error" and not url.endswith(LOOKED_FOR):
            self.errors.append(f"{message.text} ({url})")

    def go(self, url: str) -> Visit:
        self.page.goto(url)
        return self.settled()

    def settled(self) -> Visit:
        """Waits until no script runs, and asserts that nothing went wrong."""
        self.page.locator("[data-testid='stMain'] h1").first.wait_for()
        self.page.wait_for_timeout(300)
        self.page.wait_for_function(
            "document.querySelector('[data-test-script-state]')"
            "?.getAttribute('data-test-script-state') === 'notRunning'"
            " && !document.querySelector('[data-testid=stSkeleton]')"
        )
        self.page.wait_for_timeout(300)
        assert self.page.locator("[data-testid='stException']").count() == 0
        assert self.errors == []
        return self

    def steady(self, read: Callable[[], Any]) -> Any:
        """What `read` gives once it gives the same twice: parts of a page are loaded late."""
        before = None
        for _ in range(20):
            now = read()
            if now == before:
                break
            before = now
            self.page.wait_for_timeout(1000)
        return before

    def text(self) -> str:
        """All that is read on the page."""
        return str(self.steady(self.page.locator("[data-testid='stMain']").inner_text))

    def view(self) -> list[str]:
        """What is chosen and read on the page, but for what charts and tables draw by and by."""
        self.settled()
        words = self.steady(
            lambda: self.page.evaluate(
                """() => {
                    const late = '.stPlotlyChart, .stDataFrame, .stCode'
                    const main = document.querySelector('[data-testid=stMain]')
                    const typed = [...main.querySelectorAll('input, textarea')].map(e => e.value)
                    const read = main.cloneNode(true)
                    read.querySelectorAll(late).forEach(e => e.remove())
                    return [...typed, ...read.textContent.split(/(?<=[.:?])\\s/)]
                }"""
            )
        )
        return [word for word in words if " rows · " not in word]  # that line says how long it took

    def click_first_mark(self) -> None:
        """Clicks the first mark of the first scatter chart that has one with data behind it."""
        mark = self.page.locator(".js-plotly-plot .scatterlayer .point").first
        mark.wait_for()
        box = mark.bounding_box()
        assert box is not None
        self.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    one = Visit(browser)
    yield one
    one.context.close()


def test_from_the_overview_to_a_token_and_to_sql(
    visit: Visit, address: str, browser: Browser
) -> None:
    visit.go(address)
    assert "large" in visit.text()
    assert "small" in visit.text()

    visit.page.get_by_role("link", name="all heads").first.click()
    visit.page.wait_for_url("**/model?*")
    visit.settled()
    assert "Direct effect against logit change" in visit.text()

    visit.click_first_mark()
    visit.page.wait_for_url("**/head?*")
    visit.settled()
    assert "head=L" in visit.page.url
    head = visit.page.locator("h1").first.inner_text().split()[-1]
    assert f"head={head}" in visit.page.url

    visit.page.get_by_role("button", name="Open token").first.click()
    visit.page.get_by_text("What happened to the logit").wait_for()
    visit.settled()
    assert "instance=" in visit.page.url
    assert "Which components repaired this token" in visit.text()

    link, shown = visit.page.url, visit.page.locator("h5").all_inner_texts()
    other = Visit(browser).go(link)
    assert other.page.locator("h1").first.inner_text() == f"Head {head}"
    assert other.page.locator("h5").all_inner_texts() == shown
    other.context.close()

    visit.page.get_by_role("link", name="SQL", exact=True).click()
    visit.settled()
    statement = visit.page.get_by_label("Statement")
    statement.fill("select count(*) as how_many from head_summary where run_id = 'large'")
    visit.page.get_by_role("button", name="Run").click()
    visit.page.get_by_text("1 rows ·").wait_for()
    visit.settled()
    assert "sql=select" in visit.page.url

    statement.fill("copy runs to 'stolen.csv'")
    visit.page.get_by_role("button", name="Run").click()
    visit.page.get_by_text("refused: this page only reads").wait_for()
    visit.settled()


def test_cancel_stops_a_statement(visit: Visit, address: str) -> None:
    visit.go(f"{address}/sql")
    visit.page.get_by_label("Statement").fill(
        "select count(*) from range(1000000000) a, range(1000000) b where a.range * b.range % 7 = 3"
    )
    visit.page.get_by_role("button", name="Run").click()
    visit.page.get_by_role("button", name="Cancel").click()
    visit.page.get_by_text("cancelled").wait_for(timeout=8_000)


@pytest.mark.parametrize(
    "link",
    [
        "across_models?runs=small&ablation=resample&figure=6",
        "model?run=small&ablation=resample&quantity=logit_change&all=True",
        "head?run=large&ablation=zero&head=L1H1&view=Spread&spread=all+tokens",
        "head?run=large&ablation=mean&head=L1H0&rows=all+tokens&order=smallest+self-repair&page=3",
        "trust?run=large&ablation=zero&trust_rows=top+by+direct+effect",
        "neurons?run=large&ablation=zero&head=L0H0&ranking=direct+effect",
        "self_reinforcement?run=large&reinforced=L1H1",
        "paper?run=large&ablation=mean&figure=4&head=L2H1",
        "sql?relation=tokens&sql=select+42+as+answer",
    ],
)
def test_a_copied_link_shows_the_same_view(browser: Browser, address: str, link: str) -> None:
    first = Visit(browser).go(f"{address}/{link}")
    if link.startswith("sql"):
        first.page.get_by_text("1 rows ·").wait_for()
    copied = first.page.url
    for chosen in link.partition("?")[2].split("&"):
        assert chosen.replace("+", " ") in copied.replace("+", " ").replace("%20", " ")
    second = Visit(browser).go(copied)
    if link.startswith("sql"):
        for one in (first, second):
            one.page.get_by_text("1 rows ·").wait_for()
            one.settled()
    assert second.view() == first.view()
    for visit in (first, second):
        visit.context.close()


def test_the_back_button_and_new_generations(visit: Visit, address: str, root: Path) -> None:
    visit.go(f"{address}/model?run=small&ablation=resample")
    for number in range(3, 6):
        publish_run(root, f"new{number}", seed=number, ablations=["resample"])
        visit.page.get_by_role("link", name="Overview").click()
        visit.page.get_by_text(f"generation {number}").wait_for()
        visit.settled()
        assert f"new{number}" in visit.text()
        visit.page.get_by_role("link", name="Model", exact=True).click()
        visit.settled()
    for _ in range(2):  # an arrival at a page, and what it then writes to its address
        visit.page.go_back()
        visit.settled()
    assert visit.page.locator("h1").first.inner_text() == "Self-repair in language models"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_the_window(browser: Browser, address: str, scheme: str) -> None:
    visit = Visit(browser, color_scheme=scheme)
    for name in ("", "across_models", "model", "head", "trust", "neurons", "paper", "sql"):
        visit.go(f"{address}/{name}")
        too_wide = visit.page.evaluate(
            "document.querySelector('[data-testid=stMain]').scrollWidth"
            " - document.querySelector('[data-testid=stMain]').clientWidth"
        )
        assert too_wide <= 0, name
    visit.context.close()


def _wait_for(url: str) -> None:
    until = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.3)
