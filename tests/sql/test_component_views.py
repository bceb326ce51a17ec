"""The view of components' repairs: literal rows, answers worked out by hand."""

import pytest

from tests.helpers.runs.kept_rows import RUNS, kept, rows_of
from tests.helpers.runs.literal_facts import warehouse_of


def test_component_repairs_names_each_change_and_clusters_its_error() -> None:
    # Layer 0 of two sequential layers: heads L1H0 and L1H1, and MLP layers 0 and 1, are downstream.
    # L1H0 changes by 1, 3 | 5, 7: mean 4, error 2 (see test_summary_views).
    details = kept(
        head_changes=[[1.0, 0.5], [3.0, 0.5], [5.0, 0.5], [7.0, 0.5]],
        mlp_changes=[[-1.0, 2.0], [-1.0, 4.0], [-1.0, 2.0], [-1.0, 4.0]],
    )
    connection = warehouse_of(rows_of(), runs=RUNS, others={"component_changes": details})
    found = connection.execute(
        "select name, component_name, component, component_layer, component_head, n_rows,"
        " n_clusters, direct_effect_change, direct_effect_change_se"
        " from component_repairs order by all"
    ).fetchall()
    assert found == [
        ("L0H0", "L1H0", "head", 1, 0, 4, 2, 4.0, 2.0),
        ("L0H0", "L1H1", "head", 1, 1, 4, 2, 0.5, 0.0),
        ("L0H0", "MLP 0", "mlp", 0, None, 4, 2, -1.0, 0.0),
        ("L0H0", "MLP 1", "mlp", 1, None, 4, 2, 3.0, 0.0),
    ]


def test_component_repairs_leave_out_first_positions_and_have_a_trimmed_mean() -> None:
    # MLP 1 at positions 0, 1 | 0, 1: 100, 1 | 3, 5. One row is trimmed at either side: 3, 5 stay.
    # Without position 0: 1 | 5, mean 3, error |5 - 1| / 2; nothing is left when two are trimmed.
    details = kept(head_changes=[[]] * 4, mlp_changes=[[100.0], [1.0], [3.0], [5.0]])
    connection = warehouse_of(
        [row | {"layer": 1} for row in rows_of()],
        runs=RUNS,
        others={"component_changes": [row | {"layer": 1} for row in details]},
    )
    found = connection.execute(
        "select positions_left_out, component, component_layer, n_rows, n_clusters,"
        " direct_effect_change, direct_effect_change_se, direct_effect_change_trimmed"
        " from component_repair_means order by all"
    ).fetchall()
    # 101 | 8: mean 109 / 4, residuals 101 - 109 / 2 = 46.5 and -46.5: sqrt(2 * 2 * 46.5^2) / 4.
    assert found == [
        (0, "mlp", 1, 4, 2, 27.25, pytest.approx(46.5 / 2), 4.0),
        (1, "mlp", 1, 2, 2, 3.0, pytest.approx(2.0), None),
    ]
    assert connection.execute(
        "select direct_effect_change, direct_effect_change_trimmed from component_repairs"
    ).fetchall() == [(27.25, 4.0)]


@pytest.mark.parametrize(("n", "trimmed"), [(0, 1), (1, 1), (100, 1), (101, 2), (2000, 20)])
def test_a_hundredth_is_trimmed_and_one_row_at_least(n: int, trimmed: int) -> None:
    assert warehouse_of([]).execute(f"select n_trimmed_of({n})").fetchone() == (trimmed,)


def test_component_repairs_of_a_parallel_model_begin_a_layer_later() -> None:
    details = kept(head_changes=[[1.0, 2.0]] * 4, mlp_changes=[[3.0]] * 4)
    connection = warehouse_of(
        rows_of(),
        runs=[RUNS[0] | {"parallel_attention": True}],
        others={"component_changes": details},
    )
    assert connection.execute(
        "select component_layer, direct_effect_change from component_repairs"
        " where component = 'mlp'"
    ).fetchall() == [(1, 3.0)]


def test_token_repairers_names_every_component_of_one_token() -> None:
    # As above: layer 0's downstream heads are L1H0 and L1H1, its MLP layers 0 and 1.
    details = kept(
        head_changes=[[1.0, 0.5], [3.0, 0.25], [5.0, 0.5], [7.0, 0.5]],
        mlp_changes=[[-1.0, 2.0], [-1.5, 4.0], [-1.0, 2.0], [-1.0, 4.0]],
    )
    connection = warehouse_of(rows_of(), runs=RUNS, others={"component_changes": details})
    one = details[1]
    found = connection.execute(
        "select component_name, component, component_layer, component_head, direct_effect_change"
        " from token_repairers where sequence = ? and position = ? order by all",
        [one["sequence"], one["position"]],
    ).fetchall()
    assert found == [
        ("L1H0", "head", 1, 0, 3.0),
        ("L1H1", "head", 1, 1, 0.25),
        ("MLP 0", "mlp", 0, None, -1.5),
        ("MLP 1", "mlp", 1, None, 4.0),
    ]
    assert connection.execute("select count(*) from token_repairers").fetchone() == (16,)
