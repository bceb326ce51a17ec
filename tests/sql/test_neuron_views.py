"""The views of neurons: literal rows, answers worked out by hand."""

from math import sqrt

import duckdb
import pytest

from selfrepair_assets.measurement.engine.kept_details import curve_counts
from tests.helpers.runs.kept_rows import LAST_MLP, RUNS, kept, rows_of
from tests.helpers.runs.literal_facts import answer, warehouse_of


def neurons(
    clean: list[list[float]],
    ablated: list[list[float]],
    effects: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0),
    points: list[int] | None = None,
) -> duckdb.DuckDBPyConnection:
    """A warehouse with all neurons under both rankings, and the summary of three of them.

    points: the numbers of neurons of the cumulative share; by default those that are measured.
    """
    details = {"direct_effects": clean, "direct_effects_ablated": ablated}
    changes = [
        [a - c for c, a in zip(*row, strict=True)] for row in zip(clean, ablated, strict=True)
    ]
    orders = [
        sorted(range(4), key=lambda n: -row[n] * (1 if effect > 0 else -1))
        for row, effect in zip(changes, effects, strict=True)
    ]
    sizes = [sum(abs(x) for x in row) for row in changes]
    counts = range(5) if points is None else points
    reached = [
        [sum(abs(row[n]) for n in order[:count]) / max(size, 1e-9) for count in counts]
        for row, order, size in zip(changes, orders, sizes, strict=True)
    ]
    summary = kept(
        neurons=[order[:3] for order in orders],
        direct_effects=[[c[n] for n in o[:3]] for c, o in zip(clean, orders, strict=True)],
        direct_effects_ablated=[
            [a[n] for n in o[:3]] for a, o in zip(ablated, orders, strict=True)
        ],
        net_change=[sum(row) for row in changes],
        positive_change=[sum(x for x in row if x > 0) for row in changes],
        absolute_change=sizes,
        negligible_counts=[[0, 1, 2, 3], [0, 1, 2, 4], [0, 1, 2, 3], [0, 1, 4, 4]],
        cumulative_share=reached,
    )
    return warehouse_of(
        rows_of(effects),
        runs=RUNS,
        others={
            "neuron_repairs": summary,
            "neuron_changes": [
                {"ranking": ranking, **row}
                for ranking in ("direct_effect", "mlp_repair")
                for row in kept(**details)
            ],
            "mlp_effects": LAST_MLP,
        },
    )


def test_neuron_ablations_has_a_row_for_each_neuron() -> None:
    connection = neurons([[1.0, 2, 3, 4]] * 4, [[5.0, 6, 7, 8]] * 4)
    found = answer(
        connection,
        "from neuron_ablations where ranking = 'mlp_repair' and sequence = 1 and position = 0",
    )
    assert [
        (row["neuron"], row["direct_effect"], row["direct_effect_ablated"]) for row in found
    ] == [
        (0, 1.0, 5.0),
        (1, 2.0, 6.0),
        (2, 3.0, 7.0),
        (3, 4.0, 8.0),
    ]


def test_the_nth_neuron_repairs_more_than_a_threshold() -> None:
    # Changes of neurons 0 to 3: the largest are 0.6, 0.2 | 0.06, 0.5 of a direct effect of 1.
    clean = [[-1.0, 0, 0, 0]] * 2 + [[0.0, 0, 0, 1]] * 2
    ablated = [[-0.4, 0, 0, 0], [-0.8, 0, 0, 0.01], [0, 0, 0.06, 1], [0, 0.5, 0.3, 1]]
    connection = neurons(clean, ablated)
    first = answer(
        connection,
        "from repairing_neuron_frequency where neuron_rank = 1 order by threshold desc",
    )
    assert [(row["threshold"], row["share"]) for row in first] == [
        (0.5, 0.25),  # 0.5 is not more than 0.5
        (0.1, 0.75),
        (0.05, 1.0),
        (0.02, 1.0),
        (0.01, 1.0),
    ]
    # 1, 1 | 0, 1 above 0.1: mean 3/4, residuals 1/2 and -1/2: sqrt(2 * 1/2) / 4.
    assert first[1]["share_se"] == pytest.approx(0.25)
    assert (first[1]["n_rows"], first[1]["n_clusters"]) == (4, 2)
    at = answer(connection, "from repairing_neuron_frequency_at(0.1) where neuron_rank = 1")
    assert at[0] == {**first[1], "share_se": pytest.approx(0.25)}
    assert answer(connection, "from repairing_neuron_frequency_at(0.25) where neuron_rank = 2")[0][
        "share"
    ] == pytest.approx(0.25)


def test_repair_has_the_sign_of_the_direct_effect_and_anti_erasure_opposes_it() -> None:
    # A head of direct effect -1: its neuron 2 repairs by -0.5, from a clean effect of +0.25.
    clean = [[0.0, 0, 0.25, 0]] * 4
    ablated = [[0.5, 0, -0.25, 0]] * 4
    connection = neurons(clean, ablated, effects=(-1.0, -1.0, -1.0, -1.0))
    (first,) = answer(connection, "from neuron_rank_means where neuron_rank = 1")
    assert first["direct_effect"] == 0.25
    assert first["direct_effect_median"] == 0.25
    assert first["direct_effect_change"] == -0.5
    assert first["share_anti_erasure"] == 1
    assert (first["repaired_above_50"], first["repaired_above_10"]) == (0, 1)
    last = answer(connection, "from neuron_order_medians where n_neurons = 4")
    assert last[0]["direct_effect_median"] == 0  # neuron 0, which changes against the repair


@pytest.mark.parametrize("points", [None, [round(i / 100 * 4) for i in range(101)]])
def test_cumulative_share_of_the_absolute_change(points: list[int] | None) -> None:
    """As it is measured, and as an earlier version did, at the hundredths alone."""
    # Changes 2, 1, 0, -1: of 4 in all, the first neuron has 1/2, two have 3/4, three have 3/4.
    connection = neurons([[-5.0, 0, 0, 7]] * 4, [[-3.0, 1, 0, 6]] * 4, points=points)
    curve = answer(connection, "from neuron_cumulative_change order by n_neurons")
    assert [
        (row["n_neurons"], row["share_of_neurons"], row["cumulative_share"]) for row in curve
    ] == [
        (0, 0, 0.0),
        (1, 0.25, 0.5),
        (2, 0.5, 0.75),
        (3, 0.75, 0.75),
        (4, 1, 1.0),
    ]
    assert [row["direct_effect_median"] for row in curve] == [None, -5.0, 0.0, 0.0, 7.0]
    assert {(row["n_rows"], row["n_clusters"]) for row in curve} == {(4, 2)}
    # The flattest 60 hundredths of the curve begin at one neuron (0.5) and end at three (0.75).
    (head,) = answer(connection, "from neuron_change_by_head")
    assert head["quietest_60_percent"] == pytest.approx(0.25)


def test_the_cumulative_share_is_neuron_by_neuron_at_both_ends() -> None:
    """200 neurons, one row in each of two sequences; those of the middle do not change.

    Neuron 0 changes by 3 and 1, neurons 1 to 9 by 1, neurons 190 to 199 by -1: 22 and 20 in all.
    """
    changes = [[first] + [1.0] * 9 + [0.0] * 180 + [-1.0] * 10 for first in (3.0, 1.0)]
    rows = [
        {"ablation": "resample", "layer": 0, "head": 0, "sequence": s, "position": 0}
        for s in range(2)
    ]
    kept_neurons = [
        row
        | {
            "neurons": list(range(50)),
            "direct_effects": [0.5] * 50,
            "direct_effects_ablated": [0.5 + change for change in of_row[:50]],
            "net_change": sum(of_row),
            "positive_change": sum(x for x in of_row if x > 0),
            "absolute_change": (size := sum(abs(x) for x in of_row)),
            "negligible_counts": [180] * 4,
            "cumulative_share": [sum(map(abs, of_row[:n])) / size for n in curve_counts(200)],
        }
        for row, of_row in zip(rows, changes, strict=True)
    ]
    connection = warehouse_of(
        [row | {"direct_effect": 1.0} for row in rows],
        runs=[RUNS[0] | {"d_mlp": 200}],
        others={"neuron_repairs": kept_neurons},
    )
    curve = {row["n_neurons"]: row for row in answer(connection, "from neuron_cumulative_change")}
    assert sorted(curve) == [*range(51), *range(52, 150, 2), *range(150, 201)]
    assert curve[1]["cumulative_share"] == pytest.approx((3 / 22 + 1 / 20) / 2)
    assert curve[10]["cumulative_share"] == pytest.approx((12 / 22 + 10 / 20) / 2)
    assert curve[50]["cumulative_share"] == pytest.approx((12 / 22 + 10 / 20) / 2)
    assert curve[190]["cumulative_share"] == pytest.approx((12 / 22 + 10 / 20) / 2)
    assert curve[191]["cumulative_share"] == pytest.approx((13 / 22 + 11 / 20) / 2)
    assert curve[200]["cumulative_share"] == pytest.approx(1)
    # Two clusters of one row: half the difference.
    assert curve[1]["cumulative_share_se"] == pytest.approx((3 / 22 - 1 / 20) / 2)
    assert curve[1]["share_of_neurons"] == pytest.approx(0.005)
    assert (curve[1]["direct_effect_median"], curve[191]["direct_effect_median"]) == (0.5, None)
    assert {(row["n_rows"], row["n_clusters"]) for row in curve.values()} == {(2, 2)}


def test_net_positive_and_negligible_changes() -> None:
    # Net change 2 | 1, positive 3 | 2 of three rows' kind, 2 of the last: ratios 3/2, 3/2, 3/2, 2.
    clean = [[0.0, 0, 0, 0]] * 4
    ablated = [[3.0, 0, 0, -1]] * 3 + [[2.0, 0, 0, -1]]
    connection = neurons(clean, ablated)
    (head,) = answer(connection, "from neuron_change_by_head")
    assert head["net_change"] == pytest.approx(7 / 4)
    assert head["positive_change"] == pytest.approx(11 / 4)
    assert head["absolute_change"] == pytest.approx(15 / 4)
    # Net 2, 2 | 2, 1: residuals 1/2 and -1/2.
    assert head["net_change_se"] == pytest.approx(0.25)
    assert head["positive_to_net_of_means"] == pytest.approx(11 / 7)
    assert head["positive_to_net_median"] == pytest.approx(1.5)
    found = answer(connection, "from negligible_neurons order by threshold")
    assert [(row["threshold"], row["share_negligible"]) for row in found] == [
        (0.0001, 0.0),
        (0.001, 0.25),
        (0.01, (2 + 2 + 2 + 4) / 16),
        (0.1, (3 + 4 + 3 + 4) / 16),
    ]
    assert found[2]["share_negligible_se"] == pytest.approx(sqrt(2 * 2 * 0.25**2) / 4)


def test_the_most_repairing_neuron_and_its_histogram() -> None:
    # Neuron 3 erases less in the first row; in the second neurons 1 and 2 tie, and 1 is taken.
    clean = [[0.0, 0, 0, -0.5], [0.0, 0.13, 0.13, 0], [0.0, 0, 0, 0.11], [0.0, 0, 0, -0.5]]
    ablated = [[0.0, 0, 0, -0.1], [0.0, 0.63, 0.63, 0], [0.0, 0, 0, 0.2], [0.0, 0, 0, 0.5]]
    connection = neurons(clean, ablated)
    found = answer(connection, "from top_repairing_neuron order by sequence, position")
    assert [row["neuron"] for row in found] == [3, 1, 3, 3]
    assert [row["anti_erasure"] for row in found] == [True, False, False, True]
    assert [row["mlp_direct_effect"] for row in found] == [0.0, 1.0, 10.0, 11.0]
    assert found[0]["direct_effect_ablated"] == pytest.approx(-0.1)
    bins = answer(connection, "from top_repairing_neuron_histogram order by bin_start")
    assert [(b["bin_start"], b["bin_end"], b["n_rows"], b["share"]) for b in bins] == [
        (-0.5, -0.45, 2, 0.5),
        (0.1, pytest.approx(0.15), 2, 0.5),
    ]


def test_how_often_a_neuron_is_among_the_ten() -> None:
    # Eleven neurons more than the ten: neuron 0 repairs most in rows 0, 1 and 2, least in row 3.
    clean = [[0.0] * 12] * 4
    ablated = [[1.0 - n / 100 for n in range(12)]] * 3 + [[-1.0] + [0.5] * 10 + [0.4]]
    details = kept(direct_effects=clean, direct_effects_ablated=ablated)
    connection = warehouse_of(
        rows_of(),
        runs=[RUNS[0] | {"d_mlp": 12}],
        others={
            "neuron_changes": [{"ranking": "mlp_repair", **row} for row in details],
            "mlp_effects": LAST_MLP,
        },
    )
    found = {row["neuron"]: row for row in answer(connection, "from neuron_frequency")}
    assert sorted(found) == list(range(11))  # neuron 11 never is
    assert (found[0]["share_among_ten"], found[1]["share_among_ten"]) == (0.75, 1.0)
    assert (found[10]["share_among_ten"], found[10]["n_rows_among"]) == (0.25, 1)
    # 1, 1 | 1, 0: residuals 1/2 and -1/2; and 0, 0 | 0, 1 for neuron 10, absent from sequence 0.
    assert found[0]["share_among_ten_se"] == pytest.approx(0.25)
    assert found[10]["share_among_ten_se"] == pytest.approx(0.25)
    assert found[1]["share_among_ten_se"] == 0
    assert found[0]["direct_effect_change"] == pytest.approx(1.0)
    assert {row["n_rows"] for row in found.values()} == {4}
