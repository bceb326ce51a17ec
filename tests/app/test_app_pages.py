"""Every page over an empty warehouse, over one model and over two, and what is clicked there."""

import re
from pathlib import Path

import pytest

from selfrepair.app.questions import queries
from selfrepair.warehouse.facts.plan import write_plan
from selfrepair.warehouse.facts.run_table import RunTable
from selfrepair.warehouse.paths import Warehouse
from tests.helpers.runs.app_runs import PAGES, generation_of, page, publish_run, said, sound
from tests.helpers.runs.small_run import FINGERPRINT, run_row, tables


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("one")
    publish_run(root, "org/toy@v1")
    return root


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("two")
    publish_run(root, "small", seed=1, ablations=["resample"])
    publish_run(root, "large", details=True, seed=2, n_layers=4)
    return root


@pytest.mark.parametrize("name", PAGES)
def test_an_empty_warehouse_shows_how_to_fill_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = sound(page(tmp_path / "nothing", name, monkeypatch))
    assert "selfrepair demo" in said(test)
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize("name", PAGES)
def test_every_page_over_one_model(name: str, one: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test = sound(page(one, name, monkeypatch))
    assert test.title
    assert "generation 1" in said(test)


@pytest.mark.parametrize("name", PAGES)
def test_every_page_over_two_models(name: str, two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sound(page(two, name, monkeypatch))


@pytest.mark.parametrize(
    "view", ["Tokens", "Scatter", "Parts", "Spread", "Positions", "LayerNorm", "Ablations"]
)
def test_every_view_of_a_head(view: str, two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test = sound(page(two, "head", monkeypatch, run="large", head="L2H1", view=view))
    assert test.title[0].value == "Head L2H1"
    assert test.get("plotly_chart") or test.get("html") or test.dataframe


@pytest.mark.parametrize("ranking", ["last MLP's repair", "direct effect"])
def test_the_most_frequent_neuron_has_tokens(
    ranking: str, two: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = {"run": "large", "head": "L0H0", "ranking": ranking}
    shown = said(sound(page(two, "neurons", monkeypatch, **chosen)))
    found = re.search(r"(\d+) tokens; largest change first", shown)
    assert found
    assert int(found[1]) > 0


def test_every_figure_of_the_paper(two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = queries.ask(generation_of(two), "select figure, title from figures").frame
    assert len(figures) > 10
    test = sound(page(two, "paper", monkeypatch, run="large"))
    absent = {"post-norm", *(f"{number}, over training" for number in (1, 6, 11))}
    assert absent < set(figures["figure"])
    figures = figures[~figures["figure"].isin(absent)]  # what no run has is not offered
    for figure, title in zip(figures["figure"], figures["title"], strict=True):
        test = sound(test.selectbox(key="widget:figure").select(figure).run())
        shown = said(test)
        assert title in shown or "The authors published no numbers of large" in shown, figure
        assert "The paper" in shown, figure


def test_an_instance_that_is_not_there_says_so(one: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test = sound(page(one, "head", monkeypatch, instance="99:7"))
    assert "no position 7 in sequence 99" in said(test)


def test_choices_are_written_to_the_address_and_kept_for_other_pages(
    two: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = sound(page(two, "model", monkeypatch, run="small"))
    assert test.selectbox(key="widget:run").value == "small"
    test = sound(test.selectbox(key="widget:run").select("large").run())
    assert test.query_params["run"] == "large"
    test = sound(test.switch_page("app_pages/head.py").run())
    assert test.selectbox(key="widget:run").value == "large"
    test = sound(test.selectbox(key="widget:run").select("small").run())
    test = sound(test.switch_page("app_pages/model.py").run())
    assert test.query_params["run"] == "small"


def test_filtering_the_tokens_finds_what_is_asked_for(
    one: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = sound(page(one, "head", monkeypatch, rows="all tokens"))
    everything = _found(said(test))
    assert everything == 6 * 8
    test = sound(test.text_input(key="widget:find").input("BÄR").run())
    assert 0 < _found(said(test)) < everything
    assert test.query_params["find"] == "BÄR"
    test = sound(test.text_input(key="widget:find").input("no such token").run())
    assert "No token is like that" in said(test)


def test_a_token_is_opened_and_closed(one: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test = sound(page(one, "head", monkeypatch))
    opener = next(button for button in test.button if button.label == "Open token")
    test = sound(opener.click().run())
    assert "What happened to the logit" in said(test)
    assert test.query_params["instance"]
    back = next(button for button in test.button if button.label == "Back to the list")
    test = sound(back.click().run())
    assert "instance" not in test.query_params


def test_a_new_generation_is_shown_at_the_next_click(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_run(tmp_path, "first", ablations=["resample"])
    test = sound(page(tmp_path, "overview", monkeypatch))
    assert "first" in said(test)
    assert "second" not in said(test)
    for number, name in enumerate(("second", "third"), start=2):
        publish_run(tmp_path, name, ablations=["resample"])
        test = sound(test.run())
        assert f"generation {number}" in said(test)
        assert name in said(test)


def test_a_run_that_is_being_measured_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse = Warehouse(tmp_path)
    four = [(0, 1), (1, 2), (2, 3), (3, 4)]
    write_plan(warehouse, "org/new", FINGERPRINT, {"head_ablations": four})
    columns = tables(run_row(), 0, 1)["head_ablations"]
    RunTable(warehouse, "head_ablations", "org/new").write(0, 1, columns, FINGERPRINT)
    (warehouse.run_folder("org/damaged")).mkdir()
    (warehouse.run_folder("org/damaged") / "run.json").write_text("{")
    test = sound(page(tmp_path, "overview", monkeypatch))
    shown = test.get("progress")[0].proto
    assert shown.value == 25
    assert "org/new" in shown.text
    assert "1 of 4 shards" in shown.text


def test_a_link_that_leads_nowhere_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "selfrepair.duckdb").write_bytes(b"not a link")
    test = page(tmp_path, "overview", monkeypatch)
    assert not test.exception
    assert "move it away" in test.error[0].value


def _found(text: str) -> int:
    """The number in "##### 48 tokens: ..."."""
    line = next(line for line in text.splitlines() if " tokens: " in line)
    return int(line.split("#####")[1].split()[0].replace(",", ""))
