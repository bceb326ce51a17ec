"""Means, their clustered errors, and the figures' views: literal rows, answers by hand."""

from math import inf, sqrt
from typing import Any

import duckdb
import pytest

from tests.helpers.runs.literal_facts import answer, warehouse_of


def rows_of(values: list[float], column: str = "logit_change", **rest: Any) -> list[dict[str, Any]]:
    """Four rows of one head: two sequences of two positions."""
    places = [(0, 0), (0, 1), (1, 0), (1, 1)]
    return [
        {**rest, "sequence": sequence, "position": position, column: value}
        for (sequence, position), value in zip(places, values, strict=True)
    ]


def test_mean_and_its_error_clustered_by_sequence() -> None:
    # The mean of 1, 3 | 5, 7 is 4; the sequences' residuals add to -4 and 4.
    # sqrt(2/1 * (16 + 16)) / 4 = 2. (Independent tokens would have had sqrt(20/3) / 2 = 1.29.)
    connection = warehouse_of(rows_of([1, 3, 5, 7]))
    (row,) = answer(connection, "from head_summary")
    assert row["logit_change_all"] == 4
    assert row["logit_change_all_se"] == pytest.approx(2)
    assert (row["n_rows_all"], row["n_clusters_all"]) == (4, 2)


def test_error_of_sequences_with_unequal_numbers_of_rows() -> None:
    # The three largest direct effects keep 1, 3 | 5, whose mean is 3. The mean about the cut, here
    # over all four rows, is q = 4: the residuals from it are -4 | 1. Of four rows three are kept,
    # 3/4 of 2 in either sequence: - 3/4 * 2 * (3 - 4) = 1.5 each. e = -2.5 and 2.5:
    # sqrt(2/1 * 2 * 2.5^2) / 3 = 5/3. (Rows as given: 4/3.)
    rows = rows_of([1, 3, 5, 7])
    for row, direct_effect in zip(rows, [2.0, 2.0, 2.0, 1.0], strict=True):
        row["direct_effect"] = direct_effect
    connection = warehouse_of(rows, runs=[{"top_fraction": 0.75}])
    (row,) = answer(connection, "from head_summary")
    assert (row["n_rows"], row["n_clusters"]) == (3, 2)
    assert row["logit_change"] == 3
    assert row["logit_change_se"] == pytest.approx(5 / 3)


def test_one_sequence_has_no_error() -> None:
    connection = warehouse_of([{"position": 0}, {"position": 1, "logit_change": 1.0}])
    (row,) = answer(connection, "from head_summary")
    assert row["logit_change_all"] == 0.5
    assert row["logit_change_all_se"] is None


@pytest.mark.parametrize(
    ("second_head", "mean", "error"),
    [
        ([1.0, 3, 5, 7], 4, 2),  # moves with the first: no smaller error than one head
        ([7.0, 5, 3, 1], 4, 0),  # moves against it: whatever the text, the layer's mean is 4
        ([2.0, 2, 2, 2], 3, 1),  # does not move: half the error of the first
    ],
)
def test_layer_mean_is_that_of_head_means_and_its_error_knows_that_heads_share_sequences(
    second_head: list[float], mean: float, error: float
) -> None:
    connection = warehouse_of(rows_of([1, 3, 5, 7]) + rows_of(second_head, head=1))
    (row,) = answer(connection, "from layer_summary")
    assert row["n_heads"] == 2
    assert (row["n_rows_all"], row["n_clusters_all"]) == (8, 2)
    assert row["logit_change_all"] == mean
    assert row["logit_change_all_se"] == pytest.approx(error, abs=1e-12)


def test_layer_mean_weighs_heads_and_not_rows() -> None:
    # One head with 1, 1, 1 and one with 5: the mean of the heads' means is 3, not 2.
    few = [{"head": 1, "sequence": 1, "position": 1, "logit_change": 5.0}]
    connection = warehouse_of(rows_of([1, 1, 1, 5])[:3] + few)
    (row,) = answer(connection, "from layer_summary")
    assert row["logit_change_all"] == 3


def test_clipped_and_unclipped_fractions() -> None:
    # part / direct effect: 1/2, 6/2 (cut to 1), -4/2 (cut to 0), and 0/0, which is left out.
    rows = rows_of([1.0, 6, -4, 0], "self_repair_from_heads")
    for row, direct_effect in zip(rows, [2.0, 2, 2, 0], strict=True):
        row["direct_effect"] = direct_effect
    connection = warehouse_of(rows)
    (row,) = answer(connection, "from head_summary")
    assert row["heads_fraction_clipped_all"] == pytest.approx((0.5 + 1 + 0) / 3)
    assert row["heads_fraction_unclipped_all"] == pytest.approx((0.5 + 3 - 2) / 3)
    # Residuals of the clipped ones: 0 + 0.5 in the first sequence, -0.5 in the second.
    assert row["heads_fraction_clipped_all_se"] == pytest.approx(sqrt(2 * 0.5) / 3)


def test_a_part_without_direct_effect_is_cut_to_one_and_not_in_the_unclipped_mean() -> None:
    rows = [
        {"sequence": 0, "direct_effect": 0.0, "self_repair_from_mlps": 1.0},
        {"sequence": 1, "direct_effect": 1.0, "self_repair_from_mlps": 0.5},
    ]
    (row,) = answer(warehouse_of(rows), "from head_summary")
    assert row["mlps_fraction_clipped_all"] == pytest.approx((1 + 0.5) / 2)
    assert row["mlps_fraction_unclipped_all"] == pytest.approx(0.5)


def test_a_head_whose_fractions_are_all_nan_is_left_out_of_its_layer() -> None:
    dead = rows_of([0, 0, 0, 0], head=1)
    alive = rows_of([1, 1, 2, 2], "self_repair_from_heads", direct_effect=2.0)
    connection = warehouse_of(dead + alive)
    fractions = connection.execute(
        "select heads_fraction_clipped_all from head_summary order by head"
    ).fetchall()
    assert fractions == [(pytest.approx(0.75),), (None,)]
    (row,) = answer(connection, "from layer_summary")
    assert row["heads_fraction_clipped_all"] == pytest.approx(0.75)
    # The error is that of the one head: residuals -0.5 and 0.5 over four rows.
    assert row["heads_fraction_clipped_all_se"] == pytest.approx(sqrt(2 * 0.5) / 4)
    assert row["direct_effect_all"] == 1


def uneven_warehouse() -> duckdb.DuckDBPyConnection:
    """Two layers of two heads, 40 sequences of 5 positions, everything different."""
    rows = [
        {
            "layer": layer,
            "head": head,
            "sequence": sequence,
            "position": position,
            "direct_effect": (7 * sequence + 3 * position + head) % 11 - 3.0,
            "logit_change": (5 * sequence + position + layer) % 7 - 4.0,
            "self_repair_from_mlps": (sequence * position + layer) % 5 / 4 - 0.25,
            "ln_scale_ablated": 0.8 + (sequence + position) % 5 / 10,
        }
        for layer in range(2)
        for head in range(2)
        for sequence in range(40)
        for position in range(5)
    ]
    return warehouse_of(rows, runs=[{"top_fraction": 0.1}])


def test_head_summary_at_the_runs_fraction_is_head_summary() -> None:
    connection = uneven_warehouse()
    expected = answer(connection, "from head_summary order by layer, head")
    found = answer(connection, "from head_summary_at(0.1) order by layer, head")
    assert [list(row) for row in found] == [list(row) for row in expected]
    for row, other in zip(found, expected, strict=True):
        assert row == pytest.approx(other, nan_ok=False)
    assert {row["n_rows"] for row in found} == {20}


def test_head_summary_at_everything_is_the_mean_over_all_rows() -> None:
    connection = uneven_warehouse()
    for row in answer(connection, "from head_summary_at(1)"):
        assert row["n_rows"] == row["n_rows_all"] == 200
        for column in [name for name in row if f"{name}_all" in row]:
            assert row[column] == pytest.approx(row[f"{column}_all"], rel=1e-9)


def test_layernorm_ratio_histogram() -> None:
    # Ratios 1/0.8 = 1.25, 1/0.8, 1/2 = 0.5 and 1: two above 1. The bins are 1/200 wide.
    rows = rows_of([0.8, 0.8, 2.0, 1.0], "ln_scale_ablated")
    connection = warehouse_of(rows, runs=[{"top_fraction": 1.0}])
    bins = answer(connection, "from layernorm_ratio_histogram order by bin_start")
    assert [(b["bin_start"], b["bin_end"], b["n_rows"], b["share"]) for b in bins] == [
        (0.5, 0.505, 1, 0.25),
        (1.0, 1.005, 1, 0.25),
        (pytest.approx(1.25, abs=0.005), pytest.approx(1.255, abs=0.005), 2, 0.5),
    ]
    assert {b["share_above_one"] for b in bins} == {0.5}


def test_residual_norm_histogram_is_of_the_inverse_and_ends_at_infinity() -> None:
    rows = rows_of([0.5, 1.0, 1.0, 100.0], "ln_scale_ablated")
    bins = answer(warehouse_of(rows), "from residual_norm_histogram order by bin_start")
    assert [(b["bin_start"], b["bin_end"], b["n_rows"], b["share"]) for b in bins] == [
        (0.5, 0.505, 1, 0.25),
        (1.0, 1.005, 2, 0.5),
        (4.0, inf, 1, 0.25),
    ]
