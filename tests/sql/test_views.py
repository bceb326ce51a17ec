"""The row-level view and the rankings: literal rows, answers worked out by hand."""

import math
from typing import Any

import pytest

from tests.helpers.runs.literal_facts import answer, warehouse_of

TOP_FRACTION_OF_TEN = 0.3


def test_self_repair_and_its_parts() -> None:
    # Eq. (1): -0.5 - (0.5 - 2) = 1. The rest after heads (0.25) and MLPs (0.5) is 0.25.
    # Measured: x_ablated . u_t = 1.6 * (2 - 0.5 - 0.25) = 2, times (1/1.6 - 1/2) = 0.25.
    connection = warehouse_of(
        [
            {
                "direct_effect": 2.0,
                "direct_effect_ablated": 0.5,
                "logit_change": -0.5,
                "ln_scale": 2.0,
                "ln_scale_ablated": 1.6,
                "self_repair_from_heads": 0.25,
                "self_repair_from_mlps": 0.5,
                "self_repair_from_last_mlp": 0.125,
            }
        ],
        tokens=[{"logit": 2.0, "logit_bias": 0.25, "ln_scale": 2.0}],
    )
    (row,) = answer(connection, "from self_repair")
    assert row["self_repair"] == 1
    assert row["self_repair_from_layernorm"] == 0.25
    assert row["layernorm_ratio"] == pytest.approx(1.25)
    assert (row["layernorm_fraction"], row["heads_fraction"], row["mlps_fraction"]) == (
        0.125,
        0.125,
        0.25,
    )
    (measured,) = answer(
        connection,
        """
        select
            layernorm_repair_measured(
                logit, logit_bias, logit_change, self_repair.ln_scale, ln_scale_ablated
            ) as repair
        from self_repair
        join tokens using (run_id, sequence, position)
        """,
    )
    assert measured["repair"] == pytest.approx(0.25, abs=1e-6)


@pytest.mark.parametrize(
    ("direct_effect", "logit_change", "self_repair", "overcorrected", "broken"),
    [
        (1.0, -0.5, 0.5, False, False),  # half of it is repaired
        (1.0, 0.5, 1.5, True, False),  # better without the head
        (1.0, -2.0, -1.0, False, True),  # worse than its direct effect
        (-1.0, 0.5, -0.5, False, False),  # a harmful head, half of whose harm comes back
        (-1.0, -1.0, -2.0, True, False),
        (-1.0, 3.0, 2.0, False, True),
        (1.0, 0.0, 1.0, False, False),  # repaired exactly is not overcorrected
    ],
)
def test_overcorrected_and_broken(
    direct_effect: float,
    logit_change: float,
    self_repair: float,
    overcorrected: bool,
    broken: bool,
) -> None:
    connection = warehouse_of([{"direct_effect": direct_effect, "logit_change": logit_change}])
    (row,) = answer(connection, "from self_repair")
    assert row["self_repair"] == self_repair
    assert row["overcorrected"] is overcorrected
    assert row["broken"] is broken


def test_fractions_of_a_direct_effect_of_zero() -> None:
    # No head part, an MLP part of -1, so that LayerNorm has the rest of 0, which is +1.
    connection = warehouse_of([{"self_repair_from_mlps": -1.0}])
    (row,) = answer(connection, "from self_repair")
    assert row["heads_fraction"] is None
    assert row["mlps_fraction"] == -math.inf
    assert row["layernorm_fraction"] == math.inf


def ten_rows(**columns: list[float]) -> list[dict[str, Any]]:
    """Ten rows of one head, in two sequences of five."""
    rows = [{"sequence": n // 5, "position": n % 5} for n in range(10)]
    return [
        row | {name: values[n] for name, values in columns.items()} for n, row in enumerate(rows)
    ]


def test_top_rows_are_the_largest_signed_ones_and_ties_go_by_place() -> None:
    #          sequence 0           sequence 1
    effects = [1.0, 5, -9, 0, 4, 5, 3, 4, -2, 4]
    connection = warehouse_of(
        ten_rows(direct_effect=effects), runs=[{"top_fraction": TOP_FRACTION_OF_TEN}]
    )
    kept = "select rank, sequence, position, direct_effect from {} order by rank"
    assert connection.execute(kept.format("top_by_direct_effect")).fetchall() == [
        (1, 0, 1, 5.0),
        (2, 1, 0, 5.0),
        (3, 0, 4, 4.0),  # three rows have 4; this one comes first
    ]
    assert connection.execute(kept.format("top_by_direct_effect_at(0.4)")).fetchall()[3:] == [
        (4, 1, 2, 4.0)
    ]


def test_top_by_mlp_repair_ranks_by_the_last_mlp_alone() -> None:
    connection = warehouse_of(
        ten_rows(
            direct_effect=[10.0, 9, 8, 7, 6, 5, 4, 3, 2, 1],
            self_repair_from_mlps=[0.0, 9, 9, 9, 9, 9, 9, 9, 9, 9],
            self_repair_from_last_mlp=[0.0, 0, 0, 1, 0, 0, 3, 0, 2, -5],
        ),
        runs=[{"top_fraction": TOP_FRACTION_OF_TEN}],
    )
    kept = "select direct_effect, self_repair_from_last_mlp from {} order by rank"
    assert connection.execute(kept.format("top_by_mlp_repair")).fetchall() == [
        (4.0, 3.0),
        (2.0, 2.0),
        (7.0, 1.0),
    ]
    assert connection.execute(kept.format("top_by_mlp_repair_at(0.1)")).fetchall() == [(4.0, 3.0)]


def test_top_rows_have_the_columns_of_self_repair_and_a_rank() -> None:
    connection = warehouse_of(ten_rows(direct_effect=[float(n) for n in range(10)]))
    everything = [row[0] for row in connection.execute("describe self_repair").fetchall()]
    for relation in (
        "top_by_direct_effect",
        "top_by_mlp_repair",
        "top_by_direct_effect_at(0.1)",
        "top_by_mlp_repair_at(0.1)",
    ):
        described = connection.execute(f"describe select * from {relation}").fetchall()
        assert [row[0] for row in described] == [*everything, "rank"]


@pytest.mark.parametrize(
    ("fraction", "n_kept"), [(0.02, 2), (0.019, 1), (0.009, 0), (0.29, 29), (1, 100)]
)
def test_number_of_top_rows(fraction: float, n_kept: int) -> None:
    rows = [{"sequence": n // 10, "position": n % 10, "direct_effect": 1.0} for n in range(100)]
    connection = warehouse_of(rows, runs=[{"top_fraction": fraction}])
    assert len(connection.execute("from top_by_direct_effect").fetchall()) == n_kept
    assert len(connection.execute(f"from top_by_direct_effect_at({fraction})").fetchall()) == n_kept
    (row,) = answer(connection, "from head_summary")
    assert (row["n_rows"], row["n_rows_all"]) == (n_kept, 100)
    assert row["direct_effect"] == (1 if n_kept else None)
    assert row["direct_effect_all"] == 1


def test_heads_ablations_and_runs_are_ranked_apart() -> None:
    rows = [
        {**place, "position": position, "direct_effect": direct_effect}
        for place in (
            {"run_id": "a"},
            {"run_id": "a", "head": 1},
            {"run_id": "a", "layer": 1},
            {"run_id": "a", "ablation": "zero"},
            {"run_id": "b"},
        )
        for position, direct_effect in enumerate((1.0, 2.0))
    ]
    connection = warehouse_of(rows, runs=[{"run_id": "a"}, {"run_id": "b"}])
    kept = answer(connection, "from top_by_direct_effect")
    assert len(kept) == 5
    assert {(row["rank"], row["direct_effect"]) for row in kept} == {(1, 2.0)}


def test_two_runs_of_different_fractions_keep_their_own() -> None:
    rows = [
        {"run_id": run_id, "position": position, "direct_effect": float(position)}
        for run_id in ("a", "b")
        for position in range(4)
    ]
    connection = warehouse_of(
        rows,
        runs=[{"run_id": "a", "top_fraction": 0.25}, {"run_id": "b", "top_fraction": 0.75}],
    )
    query = "select run_id, n_rows, top_fraction from head_summary order by run_id"
    assert connection.execute(query).fetchall() == [("a", 1, 0.25), ("b", 3, 0.75)]
