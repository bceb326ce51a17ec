"""The views that draw a figure, the noise of section 2.3, and the table of figures."""

from collections.abc import Iterator
from typing import Any

import duckdb
import pytest

from selfrepair.warehouse.paths import Warehouse
from selfrepair.warehouse.published.publish import publish
from selfrepair.warehouse.published.read import open_serving
from tests.helpers.runs.detail_facts import write_details
from tests.helpers.runs.literal_facts import answer, warehouse_of
from tests.helpers.runs.small_run import run_row, write_run
from tests.sql.test_summary_views import rows_of, uneven_warehouse

SECTIONS = {"section 2.3", "section 4.2.1", "section 4.2.2", "section 5.3"}


@pytest.fixture(scope="module")
def uneven() -> duckdb.DuckDBPyConnection:
    return uneven_warehouse()


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    """A run of one of the paper's models, with all that can be measured."""
    warehouse = Warehouse(tmp_path_factory.mktemp("published")).prepare()
    row = run_row("openai-community/gpt2", n_sequences=40, top_fraction=0.02)
    write_run(warehouse, row)
    write_details(warehouse, row)
    publish(warehouse, row)
    with open_serving(warehouse) as connection:
        yield connection


def test_every_figure_names_a_view_that_has_rows(published: duckdb.DuckDBPyConnection) -> None:
    figures = answer(published, "from figures")
    assert {str(n) for n in range(1, 23)} | SECTIONS <= {row["figure"] for row in figures}
    for row in figures:
        first = published.execute(f"from {row['view']} limit 1").fetchone()
        # This model has no norm between attention and residual stream, and is no step of several.
        lacks = row["figure"] == "post-norm" or row["figure"].endswith("over training")
        assert (first is None) == lacks, row
        assert row["title"]
        assert row["rows"]


def test_every_view_with_a_head_has_its_name_beside_it(
    published: duckdb.DuckDBPyConnection,
) -> None:
    views = published.execute(
        "select view_name from duckdb_views() where not internal order by all"
    ).fetchall()
    named = []
    for (view,) in views:
        columns = [row[0] for row in published.execute(f"describe {view}").fetchall()]
        if {"layer", "head"} <= set(columns):
            assert columns[columns.index("head") + 1] == "name", view
            wrong = f"from {view} where name is distinct from 'L' || layer || 'H' || head"
            assert published.execute(wrong).fetchall() == [], view
            named.append(view)
    assert {"head_summary", "self_repair", "top_by_direct_effect", "beside_paper"} <= set(named)


def test_components_sum_to_the_published_repair(published: duckdb.DuckDBPyConnection) -> None:
    heads = published.execute(
        """
        select
            sum(direct_effect_change) filter (where component = 'head'),
            any_value(self_repair_from_heads),
            sum(direct_effect_change) filter (where component = 'mlp'),
            any_value(self_repair_from_mlps),
            any_value(head_summary.n_rows),
            any_value(component_repairs.n_rows)
        from component_repairs
        join head_summary using (run_id, ablation, layer, head)
        group by run_id, ablation, layer, head
        """
    ).fetchall()
    assert len(heads) == 2 * 2 * 2
    for from_heads, all_heads, from_mlps, all_mlps, n, n_of_components in heads:
        assert (from_heads or 0.0) == pytest.approx(all_heads, abs=1e-6)
        assert from_mlps == pytest.approx(all_mlps, abs=1e-6)
        assert n == n_of_components == 3


@pytest.mark.parametrize(
    ("view", "column", "source"),
    [
        ("self_repair_by_head", "self_repair", "self_repair"),
        ("layernorm_repair_by_head", "self_repair_from_layernorm", "self_repair_from_layernorm"),
        ("layernorm_fraction_by_head", "layernorm_fraction_clipped", "layernorm_fraction_clipped"),
        (
            "layernorm_fraction_unclipped_by_head",
            "layernorm_fraction_unclipped",
            "layernorm_fraction_unclipped_all",
        ),
    ],
)
def test_a_dot_per_head_and_a_line_per_layer(
    uneven: duckdb.DuckDBPyConnection, view: str, column: str, source: str
) -> None:
    dots = answer(uneven, f"from {view} order by layer, head")
    heads = answer(uneven, "from head_summary order by layer, head")
    assert [dot["depth"] for dot in dots] == [0, 0, 0.5, 0.5]
    assert [dot[column] for dot in dots] == [head[source] for head in heads]
    assert [dot[f"{column}_se"] for dot in dots] == [head[f"{source}_se"] for head in heads]
    for layer in (0, 1):
        of_layer = [dot for dot in dots if dot["layer"] == layer]
        mean = sum(dot[column] for dot in of_layer) / 2
        assert [dot[f"layer_{column}"] for dot in of_layer] == pytest.approx([mean, mean])


def test_unclipped_fraction_beside_the_fraction_of_means() -> None:
    # LayerNorm repairs 1 of 1, 1, 2 and -1: the fractions 1, 1, 1/2, -1 have the mean 3/8,
    # the means are 1 and 3/4.
    rows = rows_of([1.0, 1, 2, -1], "direct_effect")
    for row in rows:
        row["logit_change"] = 1 - row["direct_effect"]
    (row,) = answer(warehouse_of(rows), "from layernorm_fraction_unclipped_by_head")
    assert row["layernorm_fraction_unclipped"] == pytest.approx(0.375)
    assert row["layernorm_fraction_of_means"] == pytest.approx(4 / 3)
    assert row["n_rows"] == 4


@pytest.mark.parametrize(
    ("direct_effect", "logit_change", "self_repaired"),
    [(2.0, -1.0, True), (2.0, -3.0, False), (2.0, 1.0, False), (-2.0, 1.0, True)],
)
def test_self_repaired_is_between_the_line_and_the_axis(
    direct_effect: float, logit_change: float, self_repaired: bool
) -> None:
    rows = rows_of([logit_change - 1, logit_change + 1] * 2, direct_effect=direct_effect)
    connection = warehouse_of(rows)
    (row,) = answer(connection, "from logit_change_by_head")
    assert (row["direct_effect"], row["logit_change"]) == (direct_effect, logit_change)
    assert row["self_repaired"] is self_repaired
    tokens = answer(connection, "from logit_change_by_token order by sequence, position")
    assert [token["logit_change"] for token in tokens[:2]] == [logit_change - 1, logit_change + 1]


def test_ablations_of_a_token_side_by_side() -> None:
    rows: list[dict[str, Any]] = [
        {"ablation": ablation, "direct_effect": 3.0, "logit_change": logit_change}
        for ablation, logit_change in (("resample", -3.0), ("zero", 1.0))
    ]
    (row,) = answer(warehouse_of(rows), "from logit_change_by_ablation")
    assert row["direct_effect"] == 3
    assert row["logit_change_resample"] == -3
    assert row["logit_change_mean"] is None
    assert row["logit_change_zero"] == 1


def test_sampled_are_the_same_five_thousand_positions_of_every_head() -> None:
    rows = [
        {"head": head, "sequence": n // 100, "position": n % 100}
        for head in range(2)
        for n in range(6000)
    ]
    connection = warehouse_of(rows)
    per_head = [
        connection.execute(
            "select sequence, position from logit_change_by_token where head = ? order by all",
            [head],
        ).fetchall()
        for head in range(2)
    ]
    assert len(per_head[0]) == 5000
    assert per_head[0] == per_head[1]
    # Not the first ones, and spread evenly: some 5,000 / 60 of every sequence.
    per_sequence = [sum(place[0] == sequence for place in per_head[0]) for sequence in range(60)]
    assert 65 <= min(per_sequence) <= max(per_sequence) <= 98


def test_noise_of_a_head_that_repairs_half_of_everything() -> None:
    # Direct effects 2, 4 | -2, 0, of which the logit loses half: on the line of slope -1/2.
    rows = rows_of([-1.0, -2, 1, 0])
    for row in rows:
        row["direct_effect"] = -2 * row["logit_change"]
    connection = warehouse_of(rows)
    (row,) = answer(connection, "from self_repair_noise where row_set = 'all'")
    assert row["correlation"] == pytest.approx(-1)
    assert row["slope"] == pytest.approx(-0.5)
    # Self-repair is 1, 2 | -1, 0, the sequences' means 1.5 and -0.5.
    assert row["self_repair"] == 0.5
    assert row["self_repair_p50"] == 0.5
    assert row["self_repair_sd"] == pytest.approx((5 / 3) ** 0.5)
    # Within sequences the squares add to 1, of 2 degrees of freedom; between them to 4, of which
    # (4 - 1 / 2) / 2 is the sequences' own. Documents are not known.
    assert row["self_repair_token_sd"] == pytest.approx(0.5**0.5)
    assert row["self_repair_sequence_sd"] == pytest.approx(1.75**0.5)
    assert row["self_repair_document_sd"] is None
    assert (row["share_overcorrected"], row["share_broken"]) == (0, 0)


def test_noise_of_a_head_that_overcorrects_once_and_breaks_once() -> None:
    # Direct effect 1; logit changes -0.5 (repair 0.5), 1 (repair 2), -3 (repair -2), 0 (repair 1).
    connection = warehouse_of(rows_of([-0.5, 1, -3, 0], direct_effect=1.0))
    (row,) = answer(connection, "from self_repair_noise where row_set = 'all'")
    assert (row["share_overcorrected"], row["share_broken"]) == (0.25, 0.25)
    assert row["correlation"] is None  # a constant direct effect correlates with nothing
    assert row["slope"] is None
    sequences = answer(
        connection, "from self_repair_by_sequence where row_set = 'all' order by sequence"
    )
    assert [s["self_repair"] for s in sequences] == [1.25, -0.5]
    assert [s["share_overcorrected"] for s in sequences] == [0.5, 0]
    assert [s["share_broken"] for s in sequences] == [0, 0.5]
