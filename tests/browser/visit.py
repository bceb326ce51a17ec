"""A browser tab that remembers every error, and the servers that it visits.

Needs Chromium on the path (`chromium`, `chromium-browser` or `google-chrome`); without one the
tests of this folder are skipped.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import selfrepair
import selfrepair.app.main

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, ViewportSize

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
# Streamlit asks for these below every page's own address before it asks at the root.
LOOKED_FOR = ("_stcore/health", "_stcore/host-config")
STOPS_WITHIN = 20  # seconds, before a server is killed
PROJECT = Path(selfrepair.__file__).absolute().parents[1]


class Visit:
    """A browser tab that remembers every error."""

    def __init__(self, browser: Browser, **options: Any) -> None:
        viewport: ViewportSize = {"width": 1280, "height": 1000}
        self.context = browser.new_context(**{"viewport": viewport, **options})
        self.page = self.context.new_page()
        self.page.set_default_timeout(90_000)  # other tests may have the cores
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

    def chosen(self, name: str) -> str:
        """What the page's address says is chosen."""
        return parse_qs(urlsplit(self.page.url).query).get(name, [""])[0]

    def choose(self, label: str, option: str) -> None:
        """Chooses an option of a select box."""
        box = self.page.get_by_role("combobox", name=label).first
        box.click()
        box.fill(option)
        self.page.get_by_role("option", name=option).first.click()
        self.settled()

    def tick_first_row(self) -> None:
        """Ticks the first row of the first table, which is drawn on a canvas."""
        table = self.page.locator("[data-testid='stDataFrame'] canvas").first
        table.scroll_into_view_if_needed()
        box = table.bounding_box()
        assert box is not None
        self.page.mouse.click(box["x"] + 15, box["y"] + 35 + 17)  # below the header's 35 pixels

    def click_first_mark(self) -> None:
        """Clicks the first mark of the first scatter chart that has one with data behind it."""
        mark = self.page.locator(".js-plotly-plot .scatterlayer .point").first
        mark.wait_for()
        box = mark.bounding_box()
        assert box is not None
        self.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)


@contextmanager
def serving_app(root: Path) -> Iterator[str]:
    """The app over a warehouse, in a process of its own; its address."""
    port = free_port()
    command = ["-m", "selfrepair", "app", f"--server.port={port}"]
    with serving(command, root, f"http://localhost:{port}/_stcore/health"):
        yield f"http://localhost:{port}"


@contextmanager
def serving(
    arguments: Sequence[str], root: Path, health: str, seconds: int = 120
) -> Iterator[None]:
    """A Python process over a warehouse that answers at `health`, until it is no longer needed."""
    environment = os.environ | {"SELFREPAIR_WAREHOUSE": str(root), "PYTHONPATH": str(PROJECT)}
    with subprocess.Popen(
        [sys.executable, *arguments],
        cwd=PROJECT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # with the processes that it starts itself
    ) as server:
        try:
            _wait_for(health, seconds, server)
            yield
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            try:
                server.wait(STOPS_WITHIN)
            except subprocess.TimeoutExpired:  # Dagster's hears nothing where SIGINT is ignored
                os.killpg(server.pid, signal.SIGKILL)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return int(free.getsockname()[1])


def _wait_for(url: str, seconds: int, server: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            if time.monotonic() > until or server.poll() is not None:
                raise
            time.sleep(0.3)
