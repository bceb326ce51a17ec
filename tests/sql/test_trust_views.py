"""Can a head's ablation be trusted: literal heads, ranks and shares worked out by hand."""

from typing import Any

import pytest

from tests.helpers.runs.literal_facts import answer, warehouse_of

PLACES = [(0, 0), (0, 1), (1, 0), (1, 1)]


def head(
    number: int, effects: list[float], changes: list[float], times: int = 6, **rest: Any
) -> list[dict[str, Any]]:
    """One head's rows at four positions of two sequences, `times` over: twelve sequences.

    Ablated to a direct effect of 0, where `rest` does not say otherwise.
    """
    return [
        {
            "head": number,
            "sequence": s + 2 * i,
            "position": p,
            "direct_effect": e,
            "logit_change": c,
            **rest,
        }
        for i in range(times)
        for (s, p), e, c in zip(PLACES, effects, changes, strict=True)
    ]


def test_ranks_by_direct_effect_and_by_ablation() -> None:
    # Head 0 has the larger direct effect, 4; three quarters of it are hidden, so that ablation puts
    # it behind head 1. Nothing varies: all bounds are the ranks themselves.
    connection = warehouse_of(
        head(0, [4.0] * 4, [-1.0] * 4)
        + head(1, [2.0] * 4, [-2.0] * 4)
        + head(2, [1.0] * 4, [0.5] * 4)
    )
    found = answer(connection, "from ablation_trust where row_set = 'all' order by head")
    assert [row["rank_by_direct_effect"] for row in found] == [1, 2, 3]
    assert [row["rank_by_ablation"] for row in found] == [2, 1, 3]
    assert [row["rank_difference"] for row in found] == [1, -1, 0]
    assert [row["ranks_differ"] for row in found] == [True, True, False]
    assert [row["share_hidden"] for row in found] == [0.75, 0.0, 1.5]
    assert [row["n_rows"] for row in found] == [24] * 3
    assert [row["misplaced"] for row in found] == ["repaired", "indirect", None]
    (run,) = answer(connection, "from ablation_trust_by_run where row_set = 'all'")
    assert run["n_heads"] == 3
    assert run["rank_correlation"] == pytest.approx(0.5)
    assert run["mean_rank_difference"] == pytest.approx(2 / 3)
    assert run["share_ranks_differ"] == pytest.approx(2 / 3)
    assert run["share_hidden_median"] == 0.75


def test_what_is_left_with_the_norm_frozen() -> None:
    # Of head 0's repair of 3 the MLP layers have 1 and LayerNorm 2: with the norm frozen the logit
    # falls by 3, a quarter is hidden, and the ranks agree.
    connection = warehouse_of(
        head(0, [4.0] * 4, [-1.0] * 4, self_repair_from_mlps=1.0) + head(1, [2.0] * 4, [-2.0] * 4)
    )
    first, second = answer(connection, "from ablation_trust where row_set = 'all' order by head")
    assert first["logit_change_frozen"] == -3
    assert first["share_hidden_frozen"] == 0.25
    assert (first["rank_by_ablation"], first["rank_by_ablation_frozen"]) == (2, 1)
    assert (first["rank_difference"], first["rank_difference_frozen"]) == (1, 0)
    assert second["logit_change_frozen"] == -2


def test_heads_whose_difference_is_within_the_noise_may_change_places() -> None:
    # Direct effects 1, 3 | 5, 7, six times over: mean 4, residuals -4 and 4, error
    # sqrt(12 / 11 * 12 * 16) / 24 = 0.6; the second head's 3 are 1.66 errors away.
    connection = warehouse_of(
        head(0, [1.0, 3, 5, 7], [-1.0, -3, -5, -7])
        + head(1, [3.0] * 4, [-3.0] * 4)
        + head(2, [20.0] * 4, [-20.0] * 4)
    )
    found = answer(connection, "from ablation_trust where row_set = 'all' order by head")
    assert [row["rank_by_direct_effect"] for row in found] == [2, 3, 1]
    assert [
        (row["rank_by_direct_effect_low"], row["rank_by_direct_effect_high"]) for row in found
    ] == [(2, 3), (2, 3), (1, 1)]
    assert [(row["rank_by_ablation_low"], row["rank_by_ablation_high"]) for row in found] == [
        (2, 3),
        (2, 3),
        (1, 1),
    ]
    assert not any(row["ranks_differ"] for row in found)


def test_the_hidden_share_is_a_ratio_of_means_with_its_own_error() -> None:
    # Lost 2, 2 | 2, 2; hidden 2, 2 | 0, 0: a half. Residuals 2 and -2 of a total loss of 8:
    # sqrt(2 * (4 + 4)) / 8 = 1/2.
    connection = warehouse_of(head(0, [2.0] * 4, [0.0, 0.0, -2.0, -2.0], times=1))
    (row,) = answer(connection, "from ablation_trust where row_set = 'all'")
    assert row["share_hidden"] == 0.5
    assert row["share_hidden_se"] == pytest.approx(0.5)
    # Lost 4 | 2, half of each hidden: no error, though the loss varies.
    connection = warehouse_of(head(0, [4.0, 4, 2, 2], [-2.0, -2, -1, -1]))
    (row,) = answer(connection, "from ablation_trust where row_set = 'all'")
    assert (row["share_hidden"], row["share_hidden_se"]) == (0.5, pytest.approx(0, abs=1e-9))


def test_ablations_side_by_side() -> None:
    rows = head(0, [4.0] * 4, [-1.0] * 4) + head(1, [2.0] * 4, [-2.0] * 4)
    rows += head(0, [4.0] * 4, [-4.0] * 4, ablation="zero")
    rows += head(1, [2.0] * 4, [-2.0] * 4, ablation="zero")
    connection = warehouse_of(rows)
    found = answer(
        connection, "from ablation_trust_by_ablation where row_set = 'all' order by head"
    )
    assert [row["rank_by_ablation_resample"] for row in found] == [2, 1]
    assert [row["rank_by_ablation_zero"] for row in found] == [1, 2]
    assert [row["rank_by_ablation_mean"] for row in found] == [None, None]
    assert [row["rank_spread"] for row in found] == [1, 1]
    assert [row["share_hidden_resample"] for row in found] == [0.75, 0]
    assert [row["share_hidden_zero"] for row in found] == [0, 0]
    assert found[0]["logit_change_zero"] == -4


def test_the_top_rows_are_ranked_apart() -> None:
    # Of the upper half of its rows head 1 has the larger direct effect, of all rows head 0.
    connection = warehouse_of(
        head(0, [3.0] * 4, [-3.0] * 4) + head(1, [5.0, 0, 5, 0], [-5.0, 0, -5, 0])
    )
    ranks = connection.execute(
        "select row_set, head, rank_by_direct_effect, n_rows from ablation_trust order by all"
    ).fetchall()
    assert ranks == [
        ("all", 0, 1, 24),
        ("all", 1, 2, 24),
        ("top_by_direct_effect", 0, 2, 12),
        ("top_by_direct_effect", 1, 1, 12),
    ]


def test_nothing_is_a_share_of_a_loss_that_is_within_its_error_of_zero() -> None:
    # Losses of 1 in one sequence and -0.75 in the other: 0.125, with an error of
    # sqrt(12 / 11 * 12 * 1.75^2) / 24 = 0.26. The second head's, 2 and 1.5, are 1.75 with 0.08.
    connection = warehouse_of(
        head(0, [1.0, 1.0, -0.75, -0.75], [-1.0] * 4) + head(1, [2.0, 2.0, 1.5, 1.5], [-0.875] * 4)
    )
    first, second = answer(connection, "from ablation_trust where row_set = 'all' order by head")
    assert first["share_hidden"] is None
    assert first["share_hidden_se"] is None
    assert first["share_hidden_frozen"] is None
    assert second["share_hidden"] == pytest.approx(0.5)
    (run,) = answer(connection, "from ablation_trust_by_run where row_set = 'all'")
    assert run["share_hidden_median"] == pytest.approx(0.5)


def test_below_ten_clusters_nothing_is_labelled() -> None:
    rows = head(0, [4.0] * 4, [-1.0] * 4, times=4) + head(1, [2.0] * 4, [-2.0] * 4, times=4)
    connection = warehouse_of(rows)
    for row in answer(connection, "from ablation_trust"):
        assert (row["n_clusters"], row["ranks_differ"], row["misplaced"]) == (8, None, None)
        assert row["rank_by_ablation_low"] is None
    (run,) = answer(connection, "from ablation_trust_by_run where row_set = 'all'")
    assert (run["n_heads"], run["n_heads_ranked"], run["share_ranks_differ"]) == (2, 0, None)
    assert {row["kind"] for row in answer(connection, "from head_kinds")} == {None}
    (repair,) = answer(connection, "from run_repair where row_set = 'all'")
    assert (repair["n_heads"], repair["n_heads_counted"], repair["share_repaired"]) == (2, 0, None)


def test_a_head_that_is_hardly_removed_is_misplaced_for_that() -> None:
    # Head 0 has the largest direct effect, of which its ablation leaves 3 of 4 in place.
    connection = warehouse_of(
        head(0, [4.0] * 4, [-1.0] * 4, direct_effect_ablated=3.0)
        + head(1, [2.0] * 4, [-2.0] * 4)
        + head(2, [1.0] * 4, [-0.5] * 4)
    )
    found = answer(connection, "from ablation_trust where row_set = 'all' order by head")
    assert [row["share_removed"] for row in found] == [0.25, 1, 1]
    assert [row["misplaced"] for row in found] == ["not removed", "indirect", None]
    (run,) = answer(connection, "from ablation_trust_by_run where row_set = 'all'")
    assert (run["n_not_removed"], run["n_repaired"], run["n_indirect"]) == (1, 0, 1)


def test_heads_of_every_kind_and_what_is_repaired_of_all() -> None:
    wobble = [0.01, -0.01, 0.02, -0.02]

    def changing(by: float) -> list[float]:
        return [by + w for w in wobble]

    connection = warehouse_of(
        head(0, [4.0] * 4, changing(-1))  # 3 of 4 are repaired
        + head(1, [4.0] * 4, changing(-1), direct_effect_ablated=3.0)  # 1 of 4 is removed
        + head(2, [2.0] * 4, changing(1))  # the logit rises: 3 of 2
        + head(3, [2.0] * 4, changing(-3))  # it falls by more than was removed: -1 of 2
        + head(4, [2.0] * 4, [-1.5, -1.5, -2.5, -2.5])  # as much as was removed
        + head(5, [1.0, 1, -1, -1], changing(-1))  # no direct effect on average
        + head(6, [-4.0] * 4, changing(1))  # 3 of 4, of a negative direct effect
    )
    found = answer(connection, "from head_kinds where row_set = 'all' order by head")
    assert [row["kind"] for row in found] == [
        *("repaired", "not removed", "overcorrected", "broken", "neither", "no effect", "repaired"),
    ]
    (run,) = answer(connection, "from run_repair where row_set = 'all'")
    counts = [run[f"n_{kind}"] for kind in ("repaired", "not_removed", "overcorrected", "broken")]
    assert counts == [2, 1, 1, 1]
    assert (run["n_neither"], run["n_no_effect"], run["n_heads_counted"]) == (1, 1, 5)
    # Removed 4 + 2 + 2 + 2 - 4 = 6, repaired 3 + 3 - 1 + 0 - 3 = 2, all of it by LayerNorm.
    assert run["share_repaired"] == pytest.approx(2 / 6, abs=1e-6)
    assert run["share_from_layernorm"] == pytest.approx(2 / 6, abs=1e-6)
    assert run["share_from_heads"] == 0
