"""What the app says of heads by kind: how many, of how many, how sure, and why where nothing is."""

import re
from pathlib import Path

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from selfrepair.app.charts.effect_charts import effects
from selfrepair.app.charts.run_charts import by_depth, heat_map
from selfrepair.app.charts.trust_charts import ranks
from selfrepair.app.questions import queries, run_questions
from selfrepair.app.questions.subject import Subject
from selfrepair.app.wording import kinds, words
from selfrepair.app.wording.headline import headline
from selfrepair.app.wording.kinds import Clusters
from selfrepair.dagster_project.cli.summary import print_summary
from selfrepair.warehouse.paths import Warehouse
from tests.helpers.runs.app_runs import page, publish_run, said, sound

WHY = "not labelled: the text is 6 sequences and a yes or no needs 10 of them or more"


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
    generation = queries.newest_generation(str(root))
    assert generation is not None
    return queries.ask(generation, query).frame


def metrics(test: AppTest) -> dict[str, str]:
    return {metric.label: metric.value for metric in test.metric}


def head(number: int, removed: float, kind: str | None, *, in_zone: bool) -> dict[str, object]:
    """A head of direct effect 1, of which `removed` was removed."""
    return {
        "layer": 0, "head": number, "direct_effect": 1.0, "direct_effect_se": 0.1,
        "direct_effect_removed": removed, "direct_effect_removed_se": 0.1,
        "share_removed": removed, "logit_change": -0.5 if in_zone else 0.5,
        "logit_change_se": 0.1, "self_repaired": in_zone, "kind": kind,
    }  # fmt: skip


def test_a_head_that_was_not_removed_does_not_count_as_repaired() -> None:
    rows = pd.DataFrame(
        [
            head(0, 0.9, "repaired", in_zone=True),
            head(1, 0.04, "not removed", in_zone=True),
            head(2, 0.9, "overcorrected", in_zone=False),
        ]
    )
    caption = kinds.zone(rows, Clusters("document", 12, 12, 12))
    assert caption.startswith("Over all tokens 1 of 3 heads are surely repaired")
    assert "1 more overcorrected" in caption
    assert "at 5 %, corrected for 3 heads, over 12 documents" in caption
    assert "2 of 3 heads lie in the paper's zone" in caption
    assert "Of 1 of these the ablation removed less than half" in caption
    caption = kinds.zone(rows.assign(kind=None), Clusters("sequence", 6, 6, 6))
    assert "surely repaired:" not in caption
    assert f"Which heads surely are repaired is {WHY}" in caption
    assert "Hollow: " in caption
    assert [len(kinds.kept(rows, c)) for c in ("all", "at least half removed", "repaired")] == [
        *(3, 2, 1),
    ]
    assert list(kinds.kept(rows, "less than half removed")["head"]) == [1]


def test_the_scatter_has_either_axis_and_hollow_heads() -> None:
    rows = pd.DataFrame(
        [
            head(0, 0.9, "repaired", in_zone=True),
            head(1, 0.04, "not removed", in_zone=True),
        ]
    )
    for across, x in (("direct_effect", [1.0, 1.0]), ("direct_effect_removed", [0.9, 0.04])):
        drawn = effects(rows, "x", "y", across=across).data
        full, hollow, legend = (trace for trace in drawn if trace.mode == "markers")
        assert (full.marker.symbol, hollow.marker.symbol) == ("circle", "circle-open")
        assert [*full.x, *hollow.x] == x
        assert hollow.name == legend.name == kinds.LITTLE
        assert [trace.showlegend for trace in (full, hollow, legend)] == [False, False, None]


def test_a_map_marks_what_was_not_removed_and_what_is_beyond_its_colours() -> None:
    rows = pd.DataFrame(
        {
            "layer": 0,
            "head": [0, 1, 2],
            "share_hidden": [0.5, -7.0, 0.2],
            "share_hidden_se": 0.1,
            "share_removed": [0.9, 0.8, 0.3],
        }
    )
    cells, marks = heat_map(
        rows,
        "share_hidden",
        has_sign=True,
        dark=False,
        unit="",
        ends=1.0,
        removed="share_removed",
    ).data
    assert (cells.zmin, cells.zmax) == (-1, 1)
    assert list(marks.text) == ["", "▼", "○"]
    assert "less than half removed (30 %)" in marks.customdata[2][4]
    assert marks.customdata[0][4] == ""


def test_a_share_has_as_many_digits_as_its_error_makes_sense_of() -> None:
    assert words.share_with_error(0.108045, 0.008621) == "10.8 ± 0.9 %"
    assert words.share_with_error(-0.59729, 0.036423) == "−60 ± 4 %"
    assert words.share_with_error(0.1, None) == "10 %"
    assert words.share_with_error(float("nan"), 0.1) == "–"


def test_headlines_are_ratios_of_sums_with_the_papers_number_beside_them(many: Path) -> None:
    generation = queries.newest_generation(str(many))
    assert generation is not None
    shown = headline(Subject(generation, "pythia-160m", "zero"))
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


def test_a_misplaced_head_has_the_colour_of_why() -> None:
    rows = pd.DataFrame(
        {
            "layer": 0,
            "head": range(4),
            "rank_by_direct_effect": [1, 2, 3, 4],
            "rank_by_ablation": [4, 3, 1, 2],
            "ranks_differ": [True, True, True, False],
            "misplaced": ["not removed", "repaired", "indirect", None],
            "share_removed": 0.5,
            "share_hidden": 0.5,
        }
    )
    names = [trace.name for trace in ranks(rows).data]
    assert names[1:] == [
        "text alone may explain it (1)",
        "not removed (1)",
        "repaired (1)",
        "indirect (1)",
    ]
    assert len({trace.marker.color for trace in ranks(rows).data[1:]}) == 4
    unknown = rows.assign(ranks_differ=None, misplaced=None)
    assert [trace.name for trace in ranks(unknown).data[1:]] == [
        "not labelled: too few clusters (4)"
    ]


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


def test_heads_over_depth_are_hollow_where_little_was_removed() -> None:
    rows = pd.DataFrame(
        {
            "run_id": "toy",
            "layer": 0,
            "head": [0, 1],
            "depth": 0.0,
            "self_repair": 0.5,
            "self_repair_se": 0.1,
            "layer_self_repair": 0.5,
            "layer_self_repair_se": 0.1,
            "share_removed": [0.9, 0.04],
        }
    )
    heads, _ = by_depth(rows, "self_repair", "y").data
    assert list(heads.marker.symbol) == ["circle", "circle-open"]
    assert list(heads.customdata[1])[:3] == ["toy", 0, 1], "a click opens the head"


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
