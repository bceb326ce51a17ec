"""How heads are drawn by kind, from literal rows."""

import pandas as pd

from selfrepair.app.charts.effect_charts import effects
from selfrepair.app.charts.run_charts import by_depth, heat_map
from selfrepair.app.charts.trust_charts import ranks
from selfrepair.app.wording import kinds
from selfrepair.app.wording.kinds import Clusters
from tests.helpers.runs.app_runs import WHY


def head(number: int, removed: float, kind: str | None, *, in_zone: bool) -> dict[str, object]:
    """A head of direct effect 1, of which `removed` was removed."""
    return {
        "layer": 0, "head": number, "direct_effect": 1.0, "direct_effect_se": 0.1,
        "direct_effect_removed": removed, "direct_effect_removed_se": 0.1,
        "share_removed": removed, "logit_change": -0.5 if in_zone else 0.5,
        "logit_change_se": 0.1, "self_repaired": in_zone, "kind": kind,
    }  # fmt: skip


def test_a_head_that_was_not_removed_does_not_count_as_repaired() -> None:
    rows = pd.DataFrame(
        [
            head(0, 0.9, "repaired", in_zone=True),
            head(1, 0.04, "not removed", in_zone=True),
            head(2, 0.9, "overcorrected", in_zone=False),
        ]
    )
    caption = kinds.zone(rows, Clusters("document", 12, 12, 12))
    assert caption.startswith("Over all tokens 1 of 3 heads are surely repaired")
    assert "1 more overcorrected" in caption
    assert "at 5 %, corrected for 3 heads, over 12 documents" in caption
    assert "2 of 3 heads lie in the paper's zone" in caption
    assert "Of 1 of these the ablation removed less than half" in caption
    caption = kinds.zone(rows.assign(kind=None), Clusters("sequence", 6, 6, 6))
    assert "surely repaired:" not in caption
    assert f"Which heads surely are repaired is {WHY}" in caption
    assert "Hollow: " in caption
    assert [len(kinds.kept(rows, c)) for c in ("all", "at least half removed", "repaired")] == [
        *(3, 2, 1),
    ]
    assert list(kinds.kept(rows, "less than half removed")["head"]) == [1]


def test_the_scatter_has_either_axis_and_hollow_heads() -> None:
    rows = pd.DataFrame(
        [
            head(0, 0.9, "repaired", in_zone=True),
            head(1, 0.04, "not removed", in_zone=True),
        ]
    )
    for across, x in (("direct_effect", [1.0, 1.0]), ("direct_effect_removed", [0.9, 0.04])):
        drawn = effects(rows, "x", "y", across=across).data
        full, hollow, legend = (trace for trace in drawn if trace.mode == "markers")
        assert (full.marker.symbol, hollow.marker.symbol) == ("circle", "circle-open")
        assert [*full.x, *hollow.x] == x
        assert hollow.name == legend.name == kinds.LITTLE
        assert [trace.showlegend for trace in (full, hollow, legend)] == [False, False, None]


def test_a_map_marks_what_was_not_removed_and_what_is_beyond_its_colours() -> None:
    rows = pd.DataFrame(
        {
            "layer": 0,
            "head": [0, 1, 2],
            "share_hidden": [0.5, -7.0, 0.2],
            "share_hidden_se": 0.1,
            "share_removed": [0.9, 0.8, 0.3],
        }
    )
    cells, marks = heat_map(
        rows,
        "share_hidden",
        has_sign=True,
        dark=False,
        unit="",
        ends=1.0,
        removed="share_removed",
    ).data
    assert (cells.zmin, cells.zmax) == (-1, 1)
    assert list(marks.text) == ["", "▼", "○"]
    assert "less than half removed (30 %)" in marks.customdata[2][4]
    assert marks.customdata[0][4] == ""


def test_a_misplaced_head_has_the_colour_of_why() -> None:
    rows = pd.DataFrame(
        {
            "layer": 0,
            "head": range(4),
            "rank_by_direct_effect": [1, 2, 3, 4],
            "rank_by_ablation": [4, 3, 1, 2],
            "ranks_differ": [True, True, True, False],
            "misplaced": ["not removed", "repaired", "indirect", None],
            "share_removed": 0.5,
            "share_hidden": 0.5,
        }
    )
    names = [trace.name for trace in ranks(rows).data]
    assert names[1:] == [
        "text alone may explain it (1)",
        "not removed (1)",
        "repaired (1)",
        "indirect (1)",
    ]
    assert len({trace.marker.color for trace in ranks(rows).data[1:]}) == 4
    unknown = rows.assign(ranks_differ=None, misplaced=None)
    assert [trace.name for trace in ranks(unknown).data[1:]] == [
        "not labelled: too few clusters (4)"
    ]


def test_heads_over_depth_are_hollow_where_little_was_removed() -> None:
    rows = pd.DataFrame(
        {
            "run_id": "toy",
            "layer": 0,
            "head": [0, 1],
            "depth": 0.0,
            "self_repair": 0.5,
            "self_repair_se": 0.1,
            "layer_self_repair": 0.5,
            "layer_self_repair_se": 0.1,
            "share_removed": [0.9, 0.04],
        }
    )
    heads, _ = by_depth(rows, "self_repair", "y").data
    assert list(heads.marker.symbol) == ["circle", "circle-open"]
    assert list(heads.customdata[1])[:3] == ["toy", 0, 1], "a click opens the head"
