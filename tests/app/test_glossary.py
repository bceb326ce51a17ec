"""The glossary: every word, what it means, and an example from the run at hand where it has one."""

import re
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from streamlit.testing.v1 import AppTest

from selfrepair.app.questions import queries
from selfrepair.app.questions.subject import Subject
from selfrepair.app.wording.glossary import GROUPS, OF_PAGE, TERMS, explained
from selfrepair.app.wording.glossary_examples import examples, quoted
from tests.helpers.runs.app_runs import PAGES, generation_of, page, publish_run, said, sound

NEEDS_DETAILS = {"self_reinforcing", "self_repressing", "top_repairing_neuron", "anti_erasure"}


@pytest.fixture(scope="module")
def detailed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with all that can be measured, as the bundled model's is."""
    root = tmp_path_factory.mktemp("detailed")
    publish_run(root, "toy", details=True, seed=2, n_sequences=12, n_layers=4, top_fraction=0.2)
    return root


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one ablation without details."""
    root = tmp_path_factory.mktemp("bare")
    publish_run(root, "toy", ablations=["zero"])
    return root


def links(test: AppTest) -> list[tuple[str, str]]:
    """The page and the term of each link to a term."""
    found = [(link.proto.page, link.proto.query_string) for link in test.get("page_link")]
    return [(to, parse_qs(asked)["term"][0]) for to, asked in found if "term=" in asked]


def test_a_name_is_one_word_and_a_definition_two_lines() -> None:
    assert len(TERMS) == sum(len(terms) for terms in GROUPS.values())
    for name, term in TERMS.items():
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", name)
        assert 60 < len(term.definition) < 230, name
        assert term.definition.endswith(".")
    assert explained("broken").startswith("- **broken**: A row whose self-repair has the other")


def test_every_page_leads_to_its_words() -> None:
    assert set(OF_PAGE) == set(PAGES) - {"glossary"}
    for names in OF_PAGE.values():
        assert set(names) <= set(TERMS)


def test_the_columns_that_definitions_name_are_there(detailed: Path) -> None:
    known = set(queries.columns(generation_of(detailed))["column"]) | {"runs", "_se"}
    for name, term in TERMS.items():
        for code in re.findall(r"`([^`]*)`", term.definition):
            assert set(re.findall(r"_?[a-z]+(?:_[a-z]+)*", code)) <= known, name


@pytest.mark.parametrize("name", OF_PAGE)
def test_links_at_the_end_of_a_page(name: str, bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = links(sound(page(bare, name, monkeypatch)))
    assert [term for _, term in found] == list(OF_PAGE[name])
    assert {to for to, _ in found} == {"glossary"}


def test_every_term_has_an_example_in_a_whole_run(detailed: Path) -> None:
    found = examples(Subject(generation_of(detailed), "toy", "resample", 2, 0))
    assert set(TERMS) - set(found.said) == {"post_norm"}  # which this model has none of
    assert "`toy` is 8 heads on 96 tokens of" in found.said["run"]
    assert "2 runs" not in found.said["generation"]
    assert re.match(r"\d of 8 heads are, under resample ablation", found.said["repaired"])
    assert re.search(r"Of the run, \d of 8 heads are by their means", found.said["broken"])


def test_examples_are_the_rows_of_the_run(detailed: Path) -> None:
    """The last top row and the overcorrected one, as the facts have them."""
    subject = Subject(generation_of(detailed), "toy", "resample", 2, 0)
    said = examples(subject).said
    rows = subject.ask(
        "from self_repair join tokens using (run_id, sequence, position)"
        " where ablation = $ablation and layer = $layer and head = $head"
        " order by direct_effect desc",
    ).frame
    top = rows.head(int(0.2 * len(rows)))
    last = top.iloc[-1]
    assert f"has {len(top)} top rows of {len(rows)} (top 20 %)" in said["top_rows"]
    assert f"{quoted(last['token_text'])} → {quoted(last['target_text'])}" in said["top_rows"]
    assert f"{last['direct_effect']:+.3f} logits" in said["top_rows"]
    over = top[(top["self_repair"] > top["direct_effect"])].iloc[0]
    assert f"effect is {over['direct_effect']:+.3f} and the self-repair" in said["overcorrected"]
    removed = (top["direct_effect"] - top["direct_effect_ablated"]).mean()
    assert f"{removed:+.3f} logits were removed" in said["direct_effect_removed"]


def test_what_a_run_does_not_have_is_left_out(bare: Path) -> None:
    found = examples(Subject(generation_of(bare), "toy", "zero", 1, 1))
    there = {"run", "generation", "top_rows", "self_repair", "zero_ablation"}
    assert there <= set(found.said)
    assert not NEEDS_DETAILS & set(found.said)
    assert "6 clusters of top rows no head of this run is labelled" in found.said["repaired"]
    assert not {"resample_ablation", "mean_ablation"} & set(found.said)


def test_a_head_without_top_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish_run(tmp_path, "tiny", top_fraction=0.01)  # of 48 rows: none
    tiny = Subject(generation_of(tmp_path), "tiny", "resample")
    assert set(examples(tiny).said) == {"run", "generation"}
    assert "No row of this run and head" in said(sound(page(tmp_path, "glossary", monkeypatch)))


def test_an_empty_warehouse_has_the_definitions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = sound(page(tmp_path / "none", "glossary", monkeypatch, term="broken"))
    assert test.subheader[0].value == "broken"
    assert len(test.subheader) == len(TERMS)
    assert TERMS["hidden"].definition in said(test)
    assert "No row of this run" not in said(test)


def test_a_term_in_the_address_comes_first(detailed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test = sound(page(detailed, "glossary", monkeypatch, term="hidden", head="L2H0"))
    assert test.subheader[0].value == "hidden"
    assert len(test.subheader) == len(TERMS)
    assert test.query_params["term"] == "hidden"
    assert "L2H0 has 19 top rows of 96" in said(test)
    test = sound(page(detailed, "glossary", monkeypatch, term="<b>nonsense"))
    assert test.subheader[0].value == "run"


def test_a_token_is_shown_as_it_is() -> None:
    assert quoted(" a*b") == "`␣a*b`"
    assert quoted("a`b") == "`` a`b ``"
    assert quoted("\n") == "`↵`"
    assert len(quoted("x" * 999)) == 34
