"""What a head does by position, with and without BOS and sinks: answers worked out by hand."""

import duckdb
import pytest

from selfrepair.warehouse.sql_files import relation
from tests.helpers.runs.literal_facts import answer, warehouse_of


def test_bins_are_single_positions_and_then_wider_and_wider() -> None:
    found = duckdb.connect()
    found.execute(relation("position_bin").body)
    bins = found.execute(
        "select position_bin(p), min(p), max(p) from range(1024) t(p) group by 1 order by 1"
    ).fetchall()
    assert bins[:8] == [(p, p, p) for p in range(8)]
    assert bins[8:15] == [
        (8, 8, 11),
        (12, 12, 15),
        (16, 16, 23),
        (24, 24, 31),
        (32, 32, 47),
        (48, 48, 63),
        (64, 64, 95),
    ]
    assert bins[-1] == (768, 768, 1023)


# Two sequences; direct effect, the ablated one and the logit change at each position. With S = S'
# and nobody downstream, self-repair is all the LayerNorm's.
SEQUENCES = [
    [(0, 4.0, 4.0, 0.0), (1, 1.0, 0.0, -1.0), (5, 2.0, 0.5, -1.0), (9, 3.0, 0.0, -2.0)],
    [(0, 6.0, 6.0, 0.0), (1, 3.0, 2.0, 0.0), (10, 1.0, 0.0, -2.0), (11, 2.0, 1.0, 0.0)],
]


def warehouse(first_tokens: tuple[int, int] = (7, 7)) -> duckdb.DuckDBPyConnection:
    return warehouse_of(
        [
            {
                "sequence": s,
                "position": position,
                "direct_effect": effect,
                "direct_effect_ablated": ablated,
                "logit_change": change,
            }
            for s, rows in enumerate(SEQUENCES)
            for position, effect, ablated, change in rows
        ],
        tokens=[
            {
                "sequence": s,
                "position": position,
                "token": first_tokens[s] if position == 0 else 9,
                "token_text": "<s>" if position == 0 else "x",
            }
            for s, rows in enumerate(SEQUENCES)
            for position, *_ in rows
        ],
        runs=[{"top_fraction": 0.25, "sequence_length": 13}],  # two rows: those of position 0
    )


def test_effects_by_position() -> None:
    found = answer(warehouse(), "from effects_by_position order by position_from")
    assert [(row["position_from"], row["position_to"], row["n_rows"]) for row in found] == [
        (0, 0, 2),
        (1, 1, 2),
        (5, 5, 1),
        (8, 11, 3),
    ]
    assert [row["n_top_rows"] for row in found] == [2, 0, 0, 0]
    assert [row["direct_effect"] for row in found] == [5, 2, 2, 2]
    assert [row["direct_effect_removed"] for row in found] == [0, 1, 1.5, pytest.approx(5 / 3)]
    assert [row["logit_change"] for row in found] == [0, -0.5, -1, pytest.approx(-4 / 3)]
    assert [row["self_repair"] for row in found] == [0, 0.5, 0.5, pytest.approx(1 / 3)]
    assert [row["self_repair_from_layernorm"] for row in found] == [
        row["self_repair"] for row in found
    ]
    # Position 0: 4 | 6, residuals -1 and 1: sqrt(2 * 2) / 2. One sequence has no error.
    assert found[0]["direct_effect_se"] == pytest.approx(1)
    assert (found[2]["n_clusters"], found[2]["direct_effect_se"]) == (1, None)
    # The bin: 3 | 1, 2 of mean 2: residuals 1 and -1: sqrt(2 * 2) / 3.
    assert found[3]["direct_effect_se"] == pytest.approx(2 / 3)


def test_means_without_bos_and_without_the_sinks() -> None:
    connection = warehouse()
    assert answer(connection, "from sequence_starts") == [
        {"run_id": "run", "begins_with_bos": True, "bos_text": "<s>"}
    ]
    found = answer(
        connection, "from head_means_by_positions where row_set = 'all' order by positions"
    )
    assert [(row["positions"], row["positions_left_out"], row["n_rows"]) for row in found] == [
        ("all", 0, 8),
        ("without_bos", 1, 6),
        ("without_sinks", 4, 4),
    ]
    assert [row["direct_effect"] for row in found] == [22 / 8, 2, 2]
    assert [row["direct_effect_removed"] for row in found] == [
        pytest.approx(8.5 / 8),
        pytest.approx(8.5 / 6),
        pytest.approx(6.5 / 4),
    ]
    assert [row["self_repair"] for row in found] == [
        pytest.approx(2.5 / 8),
        pytest.approx(2.5 / 6),
        pytest.approx(1.5 / 4),
    ]
    # Without the sinks: 2, 3 | 1, 2 of mean 2: residuals 1 and -1: sqrt(2 * 2) / 4.
    assert found[2]["direct_effect_se"] == pytest.approx(0.5)
    assert answer(connection, "from head_summary")[0]["self_repair_all_se"] == pytest.approx(
        found[0]["self_repair_se"]
    )


def test_the_top_rows_are_not_chosen_anew() -> None:
    """Both are at position 0, so that nothing is left without it."""
    found = answer(
        warehouse(), "from head_means_by_positions where row_set = 'top_by_direct_effect'"
    )
    assert [(row["positions"], row["n_rows"], row["direct_effect"]) for row in found] == [
        ("all", 2, 5.0)
    ]
    assert (found[0]["direct_effect_se"], found[0]["self_repair_se"]) == (None, 0)


def test_text_that_begins_otherwise_has_no_bos() -> None:
    connection = warehouse(first_tokens=(7, 8))
    assert answer(connection, "from sequence_starts") == [
        {"run_id": "run", "begins_with_bos": False, "bos_text": None}
    ]
    named = {row["positions"] for row in answer(connection, "from head_means_by_positions")}
    assert named == {"all", "without_sinks"}


def test_any_number_of_positions_can_be_left_out() -> None:
    (row,) = answer(
        warehouse(),
        "from head_means_without_first([6]) where row_set = 'all' and positions_left_out = 6",
    )
    assert (row["n_rows"], row["direct_effect"]) == (3, 2)
