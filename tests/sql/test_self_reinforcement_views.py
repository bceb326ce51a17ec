"""Self-reinforcing and self-repressing heads: literal rows, answers worked out by hand."""

from math import sqrt
from typing import Any

import pytest

from tests.helpers.runs.literal_facts import answer, warehouse_of

PLACES = [(0, 0), (0, 1), (1, 0), (1, 1)]


def rows_of(
    effects: list[float], after: dict[float, list[float]], times: int = 1, **place: int
) -> list[dict[str, Any]]:
    """One head at four positions; `after` gives its direct effects for each scale.

    times: how many times over, in two more sequences each time.
    """
    return [
        {
            "layer": 0,
            "head": 0,
            **place,
            "scale": scale,
            "sequence": sequence + 2 * time,
            "position": position,
            "direct_effect": effects[i],
            "direct_effect_after": values[i],
            "ln_scale_after": 4.0,
        }
        for time in range(times)
        for scale, values in after.items()
        for i, (sequence, position) in enumerate(PLACES)
    ]


def views_of(rows: list[dict[str, Any]]) -> Any:
    # ln_scale is 2 on the clean run.
    places = sorted({(row["sequence"], row["position"]) for row in rows})
    tokens = [{"sequence": s, "position": p, "ln_scale": 2.0} for s, p in places]
    return warehouse_of([], tokens=tokens, others={"self_reinforcement": rows})


def test_a_head_that_loses_a_tenth_per_scale_represses_itself() -> None:
    effects = [1.0, 2, -1, 4]
    after = {scale: [e * (1 - 0.1 * scale) for e in effects] for scale in (1.0, 3.0, 5.0)}
    connection = views_of(rows_of(effects, after))
    (head,) = answer(connection, "from self_reinforcing_heads")
    assert head["kind"] is None  # two sequences say nothing about others
    (twelve,) = answer(views_of(rows_of(effects, after, times=6)), "from self_reinforcing_heads")
    assert (twelve["kind"], twelve["n_clusters"]) == ("self-repressing", 12)
    assert head["relative_slope"] == pytest.approx(-0.1, abs=1e-6)
    assert head["relative_slope_se"] == pytest.approx(0, abs=1e-6)
    # The gain per scale is -0.1 times |1|, |2| | |1|, |4|, whose mean is 2. For each sequence the
    # sum of scale^2 over scales and positions is 70, of scale * residual 35 * 0.1 and -35 * 0.1.
    assert head["slope"] == pytest.approx(-0.2, abs=1e-6)
    assert head["slope_se"] == pytest.approx(sqrt(2 * 2 * 3.5**2) / 140, abs=1e-6)
    assert (head["n_tokens"], head["n_clusters"], head["largest_scale"]) == (4, 2, 5.0)
    assert (head["share_reinforced"], head["share_repressed"]) == (0, 1)
    scales = answer(connection, "from self_reinforcement_by_scale order by scale")
    assert [row["scale"] for row in scales] == [1, 3, 5]
    assert [row["gain_per_scale"] for row in scales] == pytest.approx([-0.2] * 3, abs=1e-6)
    assert scales[0]["direct_effect_change"] == pytest.approx(-0.15, abs=1e-6)
    assert scales[2]["direct_effect_after"] == pytest.approx(0.75, abs=1e-6)
    # -0.1, -0.2 | 0.1, -0.4: both sequences' residuals from -0.15 are 0.
    assert scales[0]["direct_effect_change_se"] == pytest.approx(0, abs=1e-6)
    assert scales[0]["gain_se"] == pytest.approx(0.05, abs=1e-6)


@pytest.mark.parametrize(
    ("changes", "kind", "reinforced"),
    [
        ([0.2, 0.4, 0.2, 0.4], "self-reinforcing", 1.0),
        ([0.005, 0.01, 0.005, 0.01], "neither", 1.0),  # sure, but half a per cent
        ([0.6, 0.6, -0.4, -0.4], "neither", 0.5),  # large, but not sure
        ([-0.3, -0.6, -0.2, -0.5], "self-repressing", 0.0),
    ],
)
def test_a_head_is_of_a_kind_where_that_is_large_and_sure(
    changes: list[float], kind: str, reinforced: float
) -> None:
    effects = [1.0, 2.0, 1.0, 2.0]
    after = {1.0: [e + c for e, c in zip(effects, changes, strict=True)]}
    connection = views_of(rows_of(effects, after, times=6))
    (head,) = answer(connection, "from self_reinforcing_heads")
    assert (head["kind"], head["share_reinforced"]) == (kind, reinforced)


def test_other_limits_decide_otherwise() -> None:
    effects = [1.0, 1.0, 1.0, 1.0]
    connection = views_of(rows_of(effects, {1.0: [1.7, 1.7, 0.7, 0.7]}, times=6))
    # Relative slope 0.2; residuals 1 and -1, error sqrt(12 / 11 * 12) / 24 = 0.151: p is 0.21.
    (head,) = answer(connection, "from self_reinforcing_heads")
    assert head["relative_slope"] == pytest.approx(0.2)
    assert head["relative_slope_se"] == pytest.approx(sqrt(144 / 11) / 24)
    assert head["adjusted_p"] == pytest.approx(0.2119, abs=1e-3)
    for limits, kind in (
        ("0.01, 0.22", "self-reinforcing"),
        ("0.01, 0.2", "neither"),
        ("0.21, 1", "neither"),
    ):
        (head,) = answer(connection, f"from self_reinforcing_heads_at({limits})")
        assert head["kind"] == kind


def test_before_and_after_with_either_scale() -> None:
    rows = rows_of([1.0, 2, 3, 4], {3.0: [0.5, 1, 1.5, 2]}) + rows_of(
        [1.0] * 4, {1.0: [1.0] * 4}, head=1
    )
    connection = views_of(rows)
    found = answer(
        connection,
        "from self_reinforcement_by_token where head = 0 order by sequence, position",
    )
    assert [row["direct_effect_change"] for row in found] == [-0.5, -1.0, -1.5, -2.0]
    # The authors divide by the changed run's scale, 4, and not by the clean one, 2.
    assert [row["direct_effect_after_rescaled"] for row in found] == [0.25, 0.5, 0.75, 1.0]
    (other,) = answer(connection, "from self_reinforcing_heads where head = 1")
    assert (other["kind"], other["relative_slope"]) == (None, 0)
