"""A word of the corpus leads to a comparison that a link keeps; a browser keeps statements."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.browser.visit import Visit

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1920, "dark")])
def test_from_a_word_to_a_comparison_by_link(
    browser: Browser, address: str, width: int, scheme: str
) -> None:
    seen = {"color_scheme": scheme, "viewport": {"width": width, "height": 1000}}
    visit = Visit(browser, **seen)
    visit.go(f"{address}/token?run=large&ablation=zero")
    word = visit.page.get_by_role("textbox", name="Find in the corpus")
    word.fill("the")
    word.press("Enter")
    visit.page.get_by_text("where “the” begins").wait_for()
    visit.settled()
    visit.tick_first_row()
    visit.page.get_by_text("heads at this token").wait_for()
    place = visit.settled().chosen("at")

    visit.page.get_by_role("link", name="at this token").click()
    visit.page.wait_for_url("**/head?*")
    visit.settled()
    assert visit.chosen("instance") == place
    pinned = visit.chosen("head")
    visit.page.get_by_role("button", name="Pin").click()
    visit.page.get_by_role("link", name=f"Compare with {pinned}", exact=False).wait_for()
    visit.settled()

    visit.choose("Run", "small")
    visit.page.get_by_role("link", name=f"Compare with {pinned} of large").click()
    visit.page.wait_for_url("**/compare?*")
    shown = visit.view()
    assert [visit.chosen(name) for name in ("run", "run2", "head2")] == ["small", "large", pinned]
    assert any("difference" in words for words in shown)

    other = Visit(browser, **seen).go(visit.page.url)
    assert other.view() == shown
    for one in (visit, other):
        one.context.close()


def test_a_browser_keeps_statements_for_its_owner_alone(browser: Browser, address: str) -> None:
    text = "select 6 * 7 as answer"
    visit = Visit(browser)
    visit.go(f"{address}/sql")
    statement = visit.page.get_by_label("Statement")
    statement.fill(text)
    visit.page.get_by_role("button", name="Run").click()
    visit.page.get_by_text("1 rows ·").wait_for()
    visit.page.get_by_role("button", name="Save", exact=False).first.click()
    name = visit.page.get_by_label("Name", exact=True)
    name.fill("the answer")
    name.press("Tab")
    visit.page.get_by_role("button", name="Save what was run").click()
    visit.page.get_by_role("button", name="Remove the answer").wait_for()

    again = Visit(browser)  # another person
    again.go(f"{address}/sql")
    again.page.wait_for_timeout(1000)
    assert again.page.get_by_role("radio", name="the answer").count() == 0
    again.context.close()

    visit.go(f"{address}/sql")  # the same person, anew
    visit.page.get_by_role("radio", name="the answer").click()
    visit.settled()
    assert visit.page.get_by_label("Statement").input_value() == text
    visit.page.get_by_role("button", name="Save", exact=False).first.click()
    visit.page.get_by_role("button", name="Remove the answer").click()
    visit.settled()
    visit.go(f"{address}/sql")
    visit.page.wait_for_timeout(1000)
    assert visit.page.get_by_role("radio", name="the answer").count() == 0
    visit.context.close()
