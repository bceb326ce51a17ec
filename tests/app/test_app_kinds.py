"""What the app says of heads by kind: how many, of how many, how sure, and why where nothing is."""

import re
from pathlib import Path

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from selfrepair.app.questions import queries, run_questions
from selfrepair.app.questions.subject import Subject
from selfrepair.app.wording import kinds, words
from selfrepair.app.wording.headline import headline
from selfrepair.dagster_project.cli.summary import print_summary
from selfrepair.warehouse.paths import Warehouse
from tests.helpers.runs.app_runs import WHY, generation_of, page, publish_run, said, sound


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of six sequences, each a document."""
    root = tmp_path_factory.mktemp("few")
    publish_run(root, "few", details=True, seed=2)
    return root


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of sixteen documents, a random sample, of one of the authors' models."""
    root = tmp_path_factory.mktemp("many")
    publish_run(
        root,
        "pythia-160m",
        details=True,
        seed=3,
        n_sequences=16,
        sequence_length=40,
        top_fraction=0.02,
        sample="random",
        drawn_from="all 890 sequences of 79 documents",
    )
    return root


def rows_of(root: Path, query: str) -> pd.DataFrame:
    return queries.ask(generation_of(root), query).frame


def metrics(test: AppTest) -> dict[str, str]:
    return {metric.label: metric.value for metric in test.metric}


def test_a_share_has_as_many_digits_as_its_error_makes_sense_of() -> None:
    assert words.share_with_error(0.108045, 0.008621) == "10.8 ± 0.9 %"
    assert words.share_with_error(-0.59729, 0.036423) == "−60 ± 4 %"
    assert words.share_with_error(0.1, None) == "10 %"
    assert words.share_with_error(float("nan"), 0.1) == "–"


def test_headlines_are_ratios_of_sums_with_the_papers_number_beside_them(many: Path) -> None:
    shown = headline(Subject(generation_of(many), "pythia-160m", "zero"))
    repair = rows_of(
        many,
        "from run_repair where ablation = 'zero' and row_set = 'top_by_direct_effect'",
    ).iloc[0]
    clipped = rows_of(
        many, "select avg(layernorm_fraction_clipped) as c from head_summary where ablation='zero'"
    )["c"].iloc[0]
    whole, norm, over, broken = shown.tiles
    share = words.share_with_error(
        repair["share_from_layernorm"], repair["share_from_layernorm_se"]
    )
    assert norm.value == share
    assert f"{repair['n_heads_counted']} of 6 heads that do something" in norm.note
    assert f"The paper's clipped fraction: {words.share(clipped)}, over all 6" in norm.note
    assert whole.value == words.share_with_error(
        repair["share_repaired"], repair["share_repaired_se"]
    )
    assert over.value == f"{int(repair['n_overcorrected'])} of 6"
    assert broken.label == "heads broken"
    assert "Single tokens broken: " in broken.note


@pytest.mark.parametrize("name", ["overview", "model"])
def test_headlines_say_what_they_are_over(
    name: str, many: Path, few: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = sound(page(many, name, monkeypatch))
    shown = said(test)
    assert re.fullmatch(r"−?[\d.]+ ± [\d.]+ %", metrics(test)["repaired by LayerNorm"])
    assert re.fullmatch(r"\d of 6", metrics(test)["heads broken"])
    assert "errors clustered by document (16)" in shown
    assert "16 sequences of 16 documents, a random sample of all 890 sequences" in shown
    assert "corrected for 6 heads, over 16 documents" in shown
    test = sound(page(few, name, monkeypatch))
    assert metrics(test)["repaired by LayerNorm"] == metrics(test)["heads broken"] == "–"
    assert "only 6 sequences; a label needs 10" in said(test)
    assert WHY in said(test)
    assert "The paper's clipped fraction: " in said(test)


def test_the_model_page_switches_its_axis_and_keeps_heads(
    many: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = said(sound(page(many, "model", monkeypatch)))
    assert "Figure 2: Mean direct effect against mean logit change" in shown
    assert "heads lie in the paper's zone" in shown
    chosen = {"across": "direct_effect_removed", "heads": "at least half removed"}
    test = sound(page(many, "model", monkeypatch, **chosen))
    shown = said(test)
    assert "What was removed against logit change" in shown
    assert "6 of 6 heads: at least half removed" in shown
    assert test.query_params["across"] == "direct_effect_removed"
    shown = said(sound(page(many, "model", monkeypatch, heads="broken")))
    assert "No head is like that" in shown
    for quantity in ("direct_effect_removed", "share_removed", "share_hidden"):
        assert quantity in run_questions.QUANTITIES
        sound(page(many, "model", monkeypatch, quantity=quantity, all="True"))


def test_a_head_says_where_little_was_removed(
    many: Path, few: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert kinds.badge("repaired", 0.9, "") == ":green-badge[repaired]"
    assert kinds.badge("not removed", 0.26, "").endswith(
        ":orange-badge[less than half removed (26 %)]"
    )
    assert kinds.badge(None, 0.9, WHY) == ":gray-badge[not labelled]"
    shown = said(sound(page(many, "head", monkeypatch)))
    assert "of what was removed" in shown
    assert "The paper's clipped fraction: " in shown
    assert "errors clustered by document (16)" in shown
    assert ", removed **" in shown, "of each token"
    shown = said(sound(page(few, "head", monkeypatch)))
    assert ":gray-badge[not labelled]" in shown
    assert f"The head is {WHY}" in shown


def test_trust_says_why_heads_are_misplaced(
    many: Path, few: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = sound(page(many, "trust", monkeypatch))
    assert re.fullmatch(r"\d of 6", metrics(test)["heads surely misplaced"])
    assert re.search(r"\d not removed · \d repaired · \d indirect", said(test))
    assert re.search(r"median over \d of 6 heads", said(test))
    assert "over 6 heads" in said(test)
    test = sound(page(few, "trust", monkeypatch))
    assert metrics(test)["heads surely misplaced"] == "–"
    assert "only 6 sequences; a label needs 10" in said(test)
    assert f"Misplaced is {WHY}" in said(test)


def test_self_reinforcement_says_what_its_labels_rest_on(
    many: Path, few: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = sound(page(many, "self_reinforcement", monkeypatch))
    assert metrics(test)["self-reinforcing"] == "2 of 6 heads"
    assert "at 5 %, corrected for 6 heads, over 16 documents" in said(test)
    test = sound(page(few, "self_reinforcement", monkeypatch))
    assert set(metrics(test).values()) == {"–"}
    assert WHY in said(test)
    assert "6 heads measured, only 6 sequences; a label needs 10" in said(test)


def test_the_paper_page_says_which_spread_text_makes(
    many: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = said(sound(page(many, "paper", monkeypatch, figure="2")))
    expected = (1 + 16 * 39 / 1e6) ** 0.5
    assert f"other text alone makes a spread of {words.number(expected, 2)}" in shown
    assert "not that the direct effect was removed" in shown
    for figure in ("what is repaired", "what is repaired, by run"):
        sound(page(many, "paper", monkeypatch, figure=figure))


def test_no_page_says_that_errors_are_by_sequence_where_they_are_not(
    many: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for chosen in ({"view": "Parts"}, {"view": "Ablations"}, {"view": "Positions"}):
        shown = said(sound(page(many, "head", monkeypatch, **chosen)))
        assert "clustered by sequence" not in shown
        assert "errors clustered by document (16)" in shown


def test_what_is_printed_after_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    publish_run(tmp_path, "few", ablations=["zero"])
    publish_run(tmp_path, "many", ablations=["zero"], n_sequences=12)
    capsys.readouterr()
    print_summary(Warehouse(tmp_path), "many", 1.0)
    printed = capsys.readouterr().out
    assert re.search(r"LayerNorm −?[\d.]+ ± [\d.]+ %\n +over the \d of 6 heads that do", printed)
    assert "labels at 5 %, corrected for 6 heads, over 12 documents" in printed
    assert "the paper's\n" in printed
    print_summary(Warehouse(tmp_path), "few", 1.0)
    printed = capsys.readouterr().out
    assert "not said: 6 sequences are fewer than the 10 that a label of a head needs" in printed
