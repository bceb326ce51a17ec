"""Every way in which the measurement differs from the paper's protocol stands in `figures.note`."""

import re

import duckdb
import pytest

from tests.helpers.runs.literal_facts import answer, warehouse_of

# What differs -> the figures it is said of, and words without which it is not said.
DEVIATIONS = {
    "resample pairing": (["4", "5", "16", "17", "18"], ["seeded cycle", "next batch"]),
    "mean ablation": (["4", "5", "16", "17", "18"], ["whole run", "over a batch"]),
    "the final norm's weight": (
        ["1", "6", "8", "10", "11", "12", "20"],
        ["Llama", "fold_ln", "final norm's weight"],
    ),
    "centring for Llama": (["1", "6", "8", "10", "11", "12", "20"], ["center_unembed is off"]),
    "length and bins of figure 4": (["4", "17", "18"], ["200 tokens", "0.0005"]),
    "text of figure 16": (["16"], ["10,000 tokens", "sequences of 100"]),
    "rows of figure 2": (["2"], ["exactly 0", "drops", "100,000"]),
    "text of figure 9": (["9", "19"], ["OpenWebText", "first 30 tokens", "50 documents"]),
    "rows of figure 12": (["12", "13", "14", "15"], ["128 positions"]),
    "ranking of figure 7": (
        ["7", "7, histogram", "section 4.2.2"],
        ["all MLP layers", "the last one", "no other MLP layer downstream"],
    ),
    "position 0": (
        ["2", "3", "5", "10", "16", "20", "21", "22", "section 2.3"],
        ["BOS", "position 0", "1 of 127"],
    ),
    "the shaded zone": (
        ["2", "20", "21", "22"],
        ["falls by less", "not that the direct effect was removed", "removes little"],
    ),
}


@pytest.fixture(scope="module")
def connection() -> duckdb.DuckDBPyConnection:
    return warehouse_of([])


@pytest.fixture(scope="module")
def notes(connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
    return {row["figure"]: row["note"] or "" for row in answer(connection, "from figures")}


@pytest.mark.parametrize(("figures", "keywords"), DEVIATIONS.values(), ids=list(DEVIATIONS))
def test_every_deviation_is_in_the_note(
    figures: list[str], keywords: list[str], notes: dict[str, str]
) -> None:
    for figure in figures:
        for keyword in keywords:
            assert keyword in notes[figure], (figure, keyword)


def test_every_note_is_of_a_figure_and_a_sentence(
    connection: duckdb.DuckDBPyConnection, notes: dict[str, str]
) -> None:
    for row in answer(connection, "from figure_notes"):
        assert set(row["figures"]) <= set(notes)
        assert re.fullmatch(r"[A-Z\d].*\.", row["note"]), row["note"]


def test_figures_come_in_the_papers_order(notes: dict[str, str]) -> None:
    numbers = [int(figure) for figure in notes if figure.isdecimal()]
    assert numbers == list(range(1, 23))


def test_the_paper_says_something_of_every_figure_and_where(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    for row in answer(connection, "from figures"):
        claim = row["claim"]
        assert re.search(r"(section|appendix) [\dA-F]|Not in the paper", claim), row["figure"]


def test_a_title_holds_for_any_run(connection: duckdb.DuckDBPyConnection) -> None:
    """It heads charts of other models, and captions that are copied."""
    for row in answer(connection, "from figures"):
        title = re.sub(r" \(in the paper: [^)]+\)$", "", row["title"])
        assert not re.search(r"Figure \d|three|GPT|Pythia|Llama", title), row["figure"]
