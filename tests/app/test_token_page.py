"""The Token page: a text is found, a token opened, every head shown; two heads compared."""

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from selfrepair.app.questions import queries
from selfrepair.app.questions.search_questions import found
from selfrepair.app.questions.subject import Subject
from tests.helpers.runs.app_runs import generation_of, page, said, sound


def button(test: AppTest, label: str) -> AppTest:
    return sound(next(one for one in test.button if one.label == label).click().run())


def test_a_text_of_several_tokens_is_found_where_it_begins(toy: Path) -> None:
    generation = generation_of(toy)
    subject = Subject(generation, "toy")
    tokens = queries.ask(
        generation, "from tokens where sequence = 3 and position between 2 and 4 order by position"
    ).frame
    text = "".join(tokens["target_text"])
    hits = found(subject, text.upper(), limit=200, offset=0).frame
    assert (3, 2) in set(zip(hits["sequence"], hits["position"], strict=True))
    assert (3, 3) not in set(zip(hits["sequence"], hits["position"], strict=True))
    row = hits[(hits["sequence"] == 3) & (hits["position"] == 2)].iloc[0]
    assert row["target_text"] == tokens["target_text"].iloc[0]
    assert row["text_after"].startswith("".join(tokens["target_text"].iloc[1:]))
    assert found(subject, "no such text", limit=5, offset=0).frame.empty
    assert found(subject, "", limit=5, offset=0).frame["n_found"].iloc[0] == 6 * 8


def test_a_token_shows_every_head_and_its_neighbours(
    toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = sound(page(toy, "token", monkeypatch, at="2:5", ablation="zero"))
    heads = next(one.value for one in test.dataframe if "self_repair" in one.value)
    assert len(heads) == 4 * 2
    assert heads["self_repair"].is_monotonic_decreasing
    assert all("instance=2%3A5" in link for link in heads["open_head"])
    assert heads["repairers"].notna().any()
    test = sound(test.selectbox(key="widget:order").select("largest direct effect").run())
    heads = next(one.value for one in test.dataframe if "self_repair" in one.value)
    assert heads["direct_effect"].is_monotonic_decreasing

    test = button(test, "Next token")
    assert test.query_params["at"] == "2:6"
    assert "position 6: predicting" in said(test)
    for _ in range(2):
        test = button(test, "Previous token")
    assert test.query_params["at"] == "2:4"
    test = button(test, "Back to the search")
    assert "48 tokens of this run" in said(test)


def test_a_token_that_is_not_there_says_so(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test = sound(page(toy, "token", monkeypatch, at="99:7"))
    assert "no position 7 in sequence 99" in said(test)
    test = sound(page(toy, "token", monkeypatch, search="no such text"))
    assert "does not have that" in said(test)


def test_a_heads_top_tokens_offer_all_where_they_have_none(
    toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generation = generation_of(toy)
    rare = queries.ask(
        generation,
        """
        select lower(target_text) as word
        from tokens
        where lower(target_text) not in (
            select unnest([lower(target_text), lower(token_text)])
            from top_by_direct_effect
            join tokens using (run_id, sequence, position)
            where ablation = 'resample' and layer = 1 and head = 0
        )
        and length(target_text) > 3
        order by word
        """,
    ).frame["word"]
    for word in rare.unique():
        test = sound(page(toy, "head", monkeypatch, head="L1H0", find=word))
        offers = [one for one in test.button if one.label.startswith("Look in all tokens")]
        if offers:
            test = sound(offers[0].click().run())
            assert test.query_params["rows"] == "all tokens"
            assert " tokens: all tokens" in said(test)
            return
    pytest.fail("no word was only among the other tokens")


def test_two_heads_are_pinned_and_compared(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test = sound(page(toy, "head", monkeypatch, head="L1H0", ablation="zero"))
    test = button(test, "Pin")
    test = sound(test.selectbox(key="widget:head").select("L2H1").run())
    assert test.query_params["head"] == "L2H1"
    test = sound(test.switch_page("app_pages/compare.py").run())
    asked = {"head": "L2H1", "head2": "L1H0", "ablation": "zero", "ablation2": "zero"}
    assert {name: test.query_params[name] for name in asked} == asked
    assert "##### L2H1 and L1H0" in said(test)
    assert "the difference is paired: its error is over the 6 clusters" in said(test)

    test = sound(test.selectbox(key="widget:head2").select("L2H1").run())
    assert "Both sides are the same" in said(test)
    test = sound(page(toy, "compare", monkeypatch, **asked, compared_rows2="all tokens"))
    assert "##### L2H1, top by direct effect and L1H0, all tokens" in said(test)
