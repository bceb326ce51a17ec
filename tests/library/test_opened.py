"""`import selfrepair`: answers with their SQL and meanings, and one line for what is not there."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import pytest

import selfrepair
from selfrepair.app.figures.registry import FIGURES
from selfrepair.library.opened import OpenWarehouse
from selfrepair.warehouse.errors import WarehouseError
from selfrepair.warehouse.paths import Warehouse
from selfrepair.warehouse.published.read import open_serving
from selfrepair_assets.measurement.errors import InputError
from tests.helpers.runs.app_runs import publish_run
from tests.helpers.runs.cli_runs import python


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("opened")
    publish_run(root, "small", seed=1, ablations=["zero"])
    publish_run(root, "large", details=True, seed=2, n_layers=4)
    return root


@pytest.fixture(scope="module")
def warehouse(root: Path) -> OpenWarehouse:
    return selfrepair.open(root)


ANSWERS: dict[str, Callable[[OpenWarehouse, int, int], pd.DataFrame]] = {
    "runs": lambda w, s, p: w.runs(),
    "heads": lambda w, s, p: w.heads("large"),
    "layers": lambda w, s, p: w.layers("large", ablation="mean"),
    "tokens": lambda w, s, p: w.tokens("large", "L1H0", n=5, order="self_repair"),
    "all tokens": lambda w, s, p: w.tokens("large", "L1H0", rows="all", search="none"),
    "repairers": lambda w, s, p: w.repairers("large", "L1H0"),
    "repairers of a token": lambda w, s, p: w.repairers("large", "L1H0", s, p),
    "neurons": lambda w, s, p: w.neurons("large", "L1H0"),
    "neurons of a token": lambda w, s, p: w.neurons("large", "L1H0", s, p, n=3),
    "sql": lambda w, s, p: w.sql("from head_summary_at(0.5) where head = $h order by all", h=1),
}


@pytest.fixture(scope="module")
def place(warehouse: OpenWarehouse) -> tuple[int, int]:
    first = warehouse.tokens("large", "L1H0", n=1).iloc[0]
    return int(first["sequence"]), int(first["position"])


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_has_documented_columns_and_its_sql(
    name: str, warehouse: OpenWarehouse, place: tuple[int, int]
) -> None:
    frame = ANSWERS[name](warehouse, *place)
    assert len(frame)
    assert set(frame.attrs["columns"]) == set(frame.columns)
    assert all(len(said) > 10 for said in frame.attrs["columns"].values())
    assert "$" not in frame.attrs["sql"]
    with open_serving(Warehouse(warehouse.path)) as connection:  # as it would be pasted
        pd.testing.assert_frame_equal(connection.execute(frame.attrs["sql"]).df(), frame)


def test_tokens_are_in_order(warehouse: OpenWarehouse) -> None:
    frame = warehouse.tokens("large", "L2H1", n=7, rows="all", order="self_repair")
    assert list(frame["self_repair"]) == sorted(frame["self_repair"], reverse=True)
    assert set(frame["name"]) == {"L2H1"}
    whole = warehouse.tokens("large", "L2H1", n=10_000, rows="all")["self_repair"]
    assert frame["self_repair"].iloc[0] == whole.max()


def test_the_repairers_of_a_token_are_named_by_layer_then_head(
    warehouse: OpenWarehouse, place: tuple[int, int]
) -> None:
    frame = warehouse.repairers("large", "L1H0", *place)
    kept = warehouse.sql(
        """
        from component_changes
        where run_id = 'large' and ablation = 'resample' and layer = 1 and head = 0
            and (sequence, position) = ($s, $p)
        """,
        s=place[0],
        p=place[1],
    ).iloc[0]
    changes = dict(zip(frame["component_name"], frame["direct_effect_change"], strict=True))
    heads = dict(zip(["L2H0", "L2H1", "L3H0", "L3H1"], kept["head_changes"], strict=True))
    mlps = dict(zip(["MLP 1", "MLP 2", "MLP 3"], kept["mlp_changes"], strict=True))
    assert changes == heads | mlps


@pytest.mark.parametrize("figure", [*FIGURES])
def test_every_figure_is_drawn(figure: str, warehouse: OpenWarehouse) -> None:
    assert isinstance(warehouse.figure(figure, "large", "L1H0"), go.Figure)


def test_a_figure_has_the_rows_of_the_head_that_is_named(warehouse: OpenWarehouse) -> None:
    drawn = [warehouse.figure("8", "large", head) for head in ("L1H0", "L2H0")]
    assert drawn[0].data
    assert drawn[0] != drawn[1]
    assert warehouse.figure("1", "large").data


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda w: w.heads("larg"), "there is no run 'larg'; nearest: large, small"),
        (lambda w: w.tokens("large", "L9H9"), "there is no head of large 'L9H9'; nearest: L"),
        (lambda w: w.tokens("large", "first"), "there is no head of large 'first'; there are 8"),
        (lambda w: w.heads("small", ablation="mean"), "there is no ablation of small 'mean'"),
        (lambda w: w.figure("88", "large"), "there is no figure '88'; nearest: 8"),
        (lambda w: w.tokens("large", "L1H0", rows="top"), "there is no set of rows 'top'"),
        (lambda w: w.tokens("large", "L1H0", order="self_repai"), "nearest: self_repair"),
        (lambda w: w.sql("from head_sumary"), 'Did you mean "head_summary'),
        (lambda w: w.sql("select slf_repair from head_summary"), "self_repair"),
        (lambda w: w.sql("drop view head_summary"), "read-only"),
    ],
)
def test_what_is_not_there_is_said_in_one_line(
    ask: Callable[[OpenWarehouse], Any], said: str, warehouse: OpenWarehouse
) -> None:
    with pytest.raises(InputError) as error:
        ask(warehouse)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_new_generations_are_followed_when_asked(tmp_path: Path) -> None:
    publish_run(tmp_path, "first")
    with selfrepair.open(tmp_path) as stays, selfrepair.open(tmp_path, follow=True) as follows:
        publish_run(tmp_path, "second")
        assert list(stays.runs()["run_id"]) == ["first"]
        assert set(follows.runs()["run_id"]) == {"first", "second"}
        assert len(follows.heads("second"))
        assert stays.refresh()
        assert not stays.refresh()
        assert set(stays.runs()["run_id"]) == {"first", "second"}
        assert stays.runs().attrs["generation"] == 2


def test_nothing_published_is_said(tmp_path: Path) -> None:
    with pytest.raises(WarehouseError, match="nothing is published"):
        selfrepair.open(tmp_path)


def test_the_import_alone_is_light() -> None:
    code = (
        "import sys, selfrepair; dir(selfrepair);"
        "print([m for m in ('torch', 'duckdb', 'pandas', 'numpy', 'dagster', 'streamlit', 'plotly',"
        " 'transformers', 'click') if m in sys.modules]);"
        "selfrepair.open; print([m for m in ('torch', 'dagster', 'streamlit', 'plotly',"
        " 'transformers') if m in sys.modules])"
    )
    assert python(code).split("\n")[:2] == ["[]", "[]"]


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'opne'"):
        selfrepair.opne  # noqa: B018


def test_a_figure_is_of_the_generation_that_is_open(tmp_path: Path) -> None:
    publish_run(tmp_path, "first", seed=1)
    warehouse = selfrepair.open(tmp_path)

    def runs_drawn() -> set[str]:
        drawn = warehouse.figure("1", "first", runs=["first", "second"])
        return {trace.name for trace in drawn.data if trace.name}

    before = runs_drawn()
    publish_run(tmp_path, "second", seed=2)
    assert runs_drawn() == before, "the tables beside it are of the first generation"
    assert warehouse.refresh()
    assert len(runs_drawn()) == len(before) + 1
