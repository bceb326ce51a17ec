"""A link that asks for what is not there says so, and shows nothing else in its place unasked."""

from pathlib import Path

import pytest

from tests.helpers.runs.app_runs import page, said, sound


@pytest.mark.parametrize(
    "asked", [{"run": "gone"}, {"head": "L9H9"}, {"ablation": "knockout"}, {"head": "<b>"}]
)
def test_no_other_head_is_shown_than_the_link_asks_for(
    asked: dict[str, str], toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [value] = asked.values()
    test = sound(page(toy, "head", monkeypatch, **asked))
    assert f"the link asks for `{value}`" in test.warning[0].value
    assert not test.metric
    assert {n: test.query_params[n] for n in asked} in (asked, {n: [v] for n, v in asked.items()})

    shown = next(button for button in test.button if button.label.startswith("Show toy"))
    test = sound(shown.click().run())
    assert not test.warning
    assert test.metric
    assert test.query_params["run"] == "toy"


def test_another_choice_mends_the_link(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test = sound(page(toy, "head", monkeypatch, head="L9H9"))
    other = test.selectbox(key="widget:head").options[0].split()[0]
    test = sound(test.selectbox(key="widget:head").select(other).run())
    assert not test.warning
    assert test.title[0].value == f"Head {other}"


@pytest.mark.parametrize("asked", [{"view": "<b>"}, {"page": "-3"}, {"kind": "x"}])
def test_a_choice_that_is_not_offered_is_one_line_above_the_page(
    asked: dict[str, str], toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [value] = asked.values()
    test = sound(page(toy, "head", monkeypatch, **asked))
    assert f"the link asks for `{value}`" in test.warning[0].value
    assert "the usual one is shown" in test.warning[0].value
    assert test.metric


def test_runs_that_are_not_there_are_named(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test = sound(page(toy, "across_models", monkeypatch, runs="toy,gone"))
    assert "the link asks for `gone`" in test.warning[0].value
    assert test.multiselect[0].value == ["toy"]
    assert not sound(page(toy, "across_models", monkeypatch, runs="toy")).warning


def test_what_is_remembered_of_another_page_is_no_wrong_link(
    toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = sound(page(toy, "paper", monkeypatch, figure="4"))
    test = sound(test.switch_page("app_pages/across_models.py").run())
    assert not test.warning
    assert "generation 1" in said(test)
