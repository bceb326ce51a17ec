"""What the tests in a browser share: the browser, and a warehouse with the app over it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.visit import CHROMIUM, Visit, serving_app
from tests.helpers.runs.app_runs import publish_run

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on the path")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as play:
        chromium = play.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    one = Visit(browser)
    yield one
    one.context.close()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse with two made-up runs, one of them with all details."""
    root = tmp_path_factory.mktemp("published")
    publish_run(root, "small", seed=1, ablations=["resample"])
    publish_run(root, "large", details=True, seed=2, n_layers=4, n_sequences=12)
    return root


@pytest.fixture(scope="module")
def address(root: Path) -> Iterator[str]:
    """The app over the warehouse."""
    with serving_app(root) as address:
        yield address
