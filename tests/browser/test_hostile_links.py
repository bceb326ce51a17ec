"""Hostile statements through the page, by link and by click: the warehouse stays as it is.

Some of the list; SELFREPAIR_HOSTILE=all takes the whole of it (some 25 minutes).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from selfrepair.warehouse.paths import Warehouse
from selfrepair.warehouse.published.read import open_serving
from tests.browser.visit import Visit, serving_app
from tests.helpers.hostile.hostile_statements import FIRST, state, statements
from tests.helpers.runs.app_runs import publish_run

EVERY = 1 if os.environ.get("SELFREPAIR_HOSTILE") == "all" else 60


@pytest.fixture(scope="module")
def own_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("hostile") / "warehouse"
    publish_run(root, "toy", ablations=["resample"])
    return root


@pytest.fixture(scope="module")
def own_address(own_root: Path) -> Iterator[str]:
    with serving_app(own_root) as address:
        yield address


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("holder", ["a reader holds it", "the app alone"])
def test_hostile_links_and_clicks_change_nothing(
    visit: Visit, own_address: str, own_root: Path, tmp_path: Path, holder: str
) -> None:
    beside = tmp_path / "beside"
    beside.mkdir()
    (beside / "victim.csv").write_text("a,b\n1,2\n")
    warehouse = Warehouse(own_root)
    texts = statements(warehouse.generation(1), warehouse.serving, beside)
    chosen = [*texts[: len(FIRST)], *texts[len(FIRST) :: EVERY]]
    reader = open_serving(warehouse) if holder == "a reader holds it" else None
    before = state(own_root, beside)
    visit.go(f"{own_address}/sql")
    refused = 0
    for text in chosen:
        if not text:
            continue  # nothing to click
        visit.go(f"{own_address}/sql?sql={quote(text)}")
        visit.page.get_by_text("has not been run").wait_for()
        assert state(own_root, beside) == before, f"by the link alone: {text}"
        visit.page.get_by_role("button", name="Run").click()
        answer = visit.page.get_by_text("No rows: the statement").or_(
            visit.page.get_by_text(" rows ·")
        )
        try:
            answer.first.wait_for()
        except Exception as error:
            raise AssertionError(f"no answer to {text!r}:\n{visit.text()}") from error
        assert state(own_root, beside) == before, f"by a click: {text}"
        refused += visit.page.get_by_text("No rows: the statement").count()
    assert refused == len([text for text in chosen if text])
    print(f"{refused} statements by link and click, {holder}: nothing changed")
    if reader:
        reader.close()
