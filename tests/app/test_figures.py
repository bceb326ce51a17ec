"""The registry of figures: known to the warehouse, drawn alike wherever they stand."""

from pathlib import Path
from urllib.parse import urlencode

import pytest

from selfrepair.app.figures import registry
from selfrepair.app.figures.registry import FIGURES
from selfrepair.app.questions import queries
from selfrepair.app.questions.subject import Subject
from tests.helpers.runs.app_runs import generation_of, page, said, sound

# The pages that show figures, what is chosen there, and the figures.
SHOWN = [
    ("across_models", {"runs": "toy", "figure": "6"}, ["6"]),
    ("model", {}, ["2", "who repairs whom"]),
    ("head", {"view": "Scatter"}, ["3"]),
    ("head", {"view": "Scatter", "every": "True"}, ["5"]),
    (
        "head",
        {"view": "Spread", "spread": "all tokens"},
        ["section 2.3", "section 2.3, per prompt"],
    ),
    ("head", {"view": "Positions"}, ["positions"]),
    ("head", {"view": "LayerNorm"}, ["4", "16"]),
    ("neurons", {}, ["7", "7, histogram", "8", "12", "section 4.2.2"]),
    ("self_reinforcement", {"reinforced": "L0H0"}, ["19", "section 5.3"]),
    ("trust", {}, ["section 5.1"]),
]


@pytest.fixture(scope="module")
def subject(toy: Path) -> Subject:
    return Subject(generation_of(toy), "toy", "resample")


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_one_of_the_warehouse_and_its_columns_have_a_meaning(
    name: str, subject: Subject
) -> None:
    figure, entry = FIGURES[name], registry.entries(subject.generation)[name]
    assert entry.view in queries.relations(subject.generation)
    assert figure.heads is None or figure.of_head
    for column in figure.columns:
        assert queries.meaning(subject.generation, column, figure.relation), column
        known = queries.columns(subject.generation).query("relation == @figure.relation")["column"]
        assert figure.relation is None or column in set(known), column


@pytest.mark.parametrize(("name", "chosen", "figures"), SHOWN)
def test_a_figure_says_the_same_on_its_page_as_beside_the_paper(
    name: str,
    chosen: dict[str, str],
    figures: list[str],
    toy: Path,
    subject: Subject,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chosen = chosen | {"head": "L0H0"}
    on_page = sound(page(toy, name, monkeypatch, **chosen))
    links = [link.proto.query_string for link in on_page.get("page_link")]
    for figure in figures:
        drawn = registry.draw(figure, subject)
        heading = registry.entries(subject.generation)[figure].heading
        beside = sound(page(toy, "paper", monkeypatch, figure=figure, head="L0H0"))
        assert len(drawn.answer.frame)
        for shown in (said(on_page), said(beside)):
            assert heading in shown
            assert drawn.caption in shown
        assert urlencode({"figure": figure}) in links


def test_the_papers_own_head_is_known_in_its_model_alone(subject: Subject) -> None:
    entries = registry.entries(subject.generation)
    assert entries["4"].head_of("EleutherAI/pythia-160m@step1000") == "L11H2"
    assert entries["9"].head_of("gpt2-medium") == "L21H1"
    assert entries["4"].head_of("gpt2") == entries["1"].head_of("pythia-160m") == ""


def test_a_figure_of_chosen_heads_names_them(subject: Subject) -> None:
    assert registry.heads_of("7", subject) == registry.heads_of("section 4.2.2", subject) != []
    assert registry.heads_of("8", subject) == []
    assert registry.heads_of("section 5.2", subject) == []
