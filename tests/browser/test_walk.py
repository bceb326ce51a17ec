"""A visitor in a real browser, from the overview to one token and to SQL, and what is shown."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.visit import Visit
from tests.helpers.runs.app_runs import publish_run

if TYPE_CHECKING:
    from playwright.sync_api import Browser


def test_from_the_overview_to_a_token_and_to_sql(
    visit: Visit, address: str, browser: Browser
) -> None:
    visit.go(address)
    assert "large" in visit.text()
    assert "small" in visit.text()

    visit.page.get_by_role("link", name="all heads").first.click()
    visit.page.wait_for_url("**/model?*")
    visit.settled()
    assert "Mean direct effect against mean logit change" in visit.text()

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
        "glossary?run=large&ablation=zero&head=L2H1&term=hidden",
    ],
)
def test_a_copied_link_shows_the_same_view(browser: Browser, address: str, link: str) -> None:
    first = Visit(browser).go(f"{address}/{link}")
    copied = first.page.url
    for chosen in link.partition("?")[2].split("&"):
        assert chosen.replace("+", " ") in copied.replace("+", " ").replace("%20", " ")
    second = Visit(browser).go(copied)
    if link.startswith("sql"):
        for one in (first, second):
            one.page.get_by_text("has not been run").wait_for()
            one.settled()
    assert second.view() == first.view()
    for visit in (first, second):
        visit.context.close()


def test_a_word_on_a_page_leads_to_what_it_means(visit: Visit, address: str) -> None:
    visit.go(f"{address}/trust?run=large&ablation=zero")
    visit.page.get_by_role("link", name="hidden", exact=True).click()
    visit.page.wait_for_url("**/glossary?*")
    visit.settled()
    assert "term=hidden" in visit.page.url
    assert "run=large&ablation=zero" in visit.page.url
    assert visit.page.locator("h3").first.inner_text() == "hidden"
    assert "does not show in the logit" in visit.text()


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
    pages = "across_models", "model", "head", "trust", "neurons", "paper", "sql", "glossary"
    for name in ("", *pages):
        visit.go(f"{address}/{name}")
        too_wide = visit.page.evaluate(
            "document.querySelector('[data-testid=stMain]').scrollWidth"
            " - document.querySelector('[data-testid=stMain]').clientWidth"
        )
        assert too_wide <= 0, name
    visit.context.close()
