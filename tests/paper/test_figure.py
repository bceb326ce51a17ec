"""A figure's name, caption and Python, by whichever way it is asked for."""

import base64
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest

import selfrepair
from selfrepair.app.questions import queries
from selfrepair.app.questions.subject import Subject
from selfrepair.library.opened import OpenWarehouse
from selfrepair.paper.figure import for_paper, of_rows
from selfrepair.warehouse.errors import WarehouseError
from selfrepair_assets.measurement.errors import InputError
from tests.paper.conftest import RUN


@pytest.fixture(scope="module")
def warehouse(root: Path) -> OpenWarehouse:
    return selfrepair.open(root)


def test_name_and_caption_say_what_it_is(subject: Subject) -> None:
    figure = for_paper("8", replace(subject, ablation="mean", layer=1), "column", {})
    assert figure.name == "org-toy@step1000_L1H0_mean_figure-8_column"
    for said in (
        "How often",
        "L1H0",
        "mean ablation",
        "org/toy (revision step1000, weights SHA-256 0123456789ab)",
        "n = 48 tokens, of which the top 25 % are 12;",
        "corpus ",
        "6 sequences",
        "Generation 1 of the warehouse",
    ):
        assert said in figure.caption, (said, figure.caption)
    every = for_paper("1", subject, "double", {})
    assert every.name == "org-toy@step1000_resample_figure-1_double"
    assert "8 heads, each over its n = 48 tokens" in every.caption


def _same(found: Any, expected: Any, place: str = "chart") -> None:
    """Two charts are equal, numbers to 1e-12: DuckDB's threads add in an order of their own."""
    if isinstance(expected, dict) and set(expected) >= {"bdata", "dtype"}:
        assert {**found, "bdata": ""} == {**expected, "bdata": ""}, place
        _same(_numbers(found), _numbers(expected), place)
    elif isinstance(expected, dict):
        assert list(found) == list(expected), place
        for name, value in expected.items():
            _same(found[name], value, f"{place}.{name}")
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected), place
        for i, value in enumerate(expected):
            _same(found[i], value, f"{place}[{i}]")
    elif isinstance(expected, float | np.ndarray) and np.asarray(expected).dtype.kind == "f":
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14, err_msg=place)
    else:
        np.testing.assert_array_equal(found, expected, err_msg=place)


def _numbers(array: dict[str, str]) -> np.ndarray:
    """The numbers of an array as plotly writes it."""
    return np.frombuffer(base64.b64decode(array["bdata"]), array["dtype"])


def test_a_chart_that_differs_is_seen() -> None:
    def chart(y: list[float], name: str = "L0H0", x: str = "a") -> dict[str, Any]:
        return go.Figure(go.Bar(y=np.array(y), x=[x, "b"], name=name)).to_dict()

    drawn = chart([1.0, 2.0])
    _same(chart([1.0, 2.0 + 1e-15]), drawn)
    others = [chart([1.0, 2.0 + 1e-9]), chart([1.0]), chart([1.0, 2.0], "L0H1")]
    for other in (*others, chart([1.0, 2.0], x="c"), {**drawn, "data": []}):
        with pytest.raises(AssertionError):
            _same(other, drawn)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("8", {}),
        ("map", {"quantity": "logit_change", "rows": "all tokens", "dark": True}),
        ("who repairs whom", {"left_out": 1, "link": str}),
        (
            "compared",
            {"other_run": RUN, "other_ablation": "zero", "other_head": "L2H1"},
        ),
    ],
)
def test_the_python_draws_the_same_chart_and_writes_its_files(
    name: str, options: dict[str, Any], subject: Subject, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SELFREPAIR_WAREHOUSE", subject.generation.root)
    figure = for_paper(name, subject, "column", options)
    names: dict[str, Any] = {}
    assert subject.generation.root not in figure.python  # visitors of the app see it
    exec(figure.python, names)
    figure.chart.update_layout(template="plotly_white")
    _same(names["chart"].to_dict(), figure.chart.to_dict())
    written = {path.suffix: path for path in tmp_path.iterdir()}
    assert set(written) == {".svg", ".pdf", ".txt", ".py"}
    assert {path.stem for path in written.values()} == {figure.name}
    assert written[".txt"].read_text() == f"{figure.caption}\n"
    assert written[".py"].read_text() == figure.python


def test_rows_of_a_statement_have_their_python_too(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SELFREPAIR_WAREHOUSE", subject.generation.root)
    sql = "select name, self_repair, 'a''b' as \"group\"\nfrom head_summary"
    rows = queries.ask(subject.generation, sql).frame
    columns = {"x": "name", "y": "self_repair", "group": "group", "marks": "bars"}
    figure = of_rows(subject.generation, sql, rows, columns, "column")
    names: dict[str, Any] = {}
    assert subject.generation.root not in figure.python  # visitors of the app see it
    exec(figure.python, names)
    _same(names["chart"].to_dict(), figure.chart.to_dict())
    assert {path.name for path in tmp_path.iterdir()} == {"chart.svg", "chart.pdf"}


def test_the_library_saves_a_figure(warehouse: OpenWarehouse, tmp_path: Path) -> None:
    new, across = tmp_path / "new", "direct_effect_removed"
    paths = warehouse.save_figure("2", RUN, output=new, across=across)
    assert [path.name for path in paths] == [
        f"org-toy@step1000_resample_figure-2_column.{kind}" for kind in ("svg", "pdf", "txt", "py")
    ]
    assert all(path.stat().st_size for path in paths)
    assert "across='direct_effect_removed'" in paths[-1].read_text()
    assert isinstance(warehouse.figure("map", RUN), go.Figure)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"figure": "8", "width": "page"}, "there is no width 'page'; nearest: column, double"),
        ({"figure": "8", "rows": "all"}, "figure 8 has no choice 'rows', nor any other"),
        ({"figure": "map", "quantty": "x"}, "there is no choice of figure map 'quantty'"),
        ({"figure": "mop"}, "there is no figure 'mop'; nearest: map"),
        ({"figure": "8", "head": "L9H9"}, "there is no head of org/toy@step1000 'L9H9'"),
    ],
)
def test_what_is_not_there_is_said_in_one_line(
    asked: dict[str, Any], said: str, warehouse: OpenWarehouse, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        warehouse.save_figure(**asked, run=RUN, output=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_files_go_into_the_folder_that_was_named_or_nowhere(
    warehouse: OpenWarehouse, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("kept")
    for wrong in ("", "  ", tmp_path / "no" / "such", tmp_path / "file"):
        with pytest.raises(WarehouseError):
            warehouse.save_figure("2", RUN, output=wrong)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "kept"
