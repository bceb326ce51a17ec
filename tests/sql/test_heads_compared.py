"""Two heads' means and their difference: paired where the text is the same."""

from pathlib import Path

import duckdb
import pytest

from selfrepair.warehouse.paths import Warehouse
from selfrepair.warehouse.published.read import open_serving
from tests.helpers.runs.app_runs import publish_run


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> duckdb.DuckDBPyConnection:
    """Two runs of one text and one of another: its sequences are shorter."""
    root: Path = tmp_path_factory.mktemp("compared")
    publish_run(root, "first", seed=1)
    publish_run(root, "second", seed=1, n_heads=3)
    publish_run(root, "third", seed=1, sequence_length=8)
    return open_serving(Warehouse(root))


def compared(
    connection: duckdb.DuckDBPyConnection, one: dict[str, object], other: dict[str, object]
) -> dict[str, dict[str, float]]:
    rows = connection.execute(
        "from heads_compared($one, $other)", {"one": one, "other": other}
    ).df()
    return {row["quantity"]: row for row in rows.to_dict("records")}


def side(run: str, layer: int, head: int, rows: str = "all") -> dict[str, object]:
    return {
        "run_id": run, "ablation": "resample", "layer": layer, "head": head, "row_set": rows
    }  # fmt: skip


def test_one_text_is_known_by_its_tokens(published: duckdb.DuckDBPyConnection) -> None:
    for other, same in (("first", True), ("second", True), ("third", False)):
        assert published.execute("select same_text('first', ?)", [other]).fetchone() == (same,)


@pytest.mark.parametrize("rows", ["all", "top_by_direct_effect"])
def test_a_difference_is_paired_by_cluster(rows: str, published: duckdb.DuckDBPyConnection) -> None:
    found = compared(published, side("first", 1, 0, rows), side("first", 2, 1, rows))
    means = published.execute(
        "select layer, self_repair, self_repair_se from head_means where run_id = 'first'"
        " and ablation = 'resample' and row_set = ? and (layer, head) in ((1, 0), (2, 1))"
        " order by layer",
        [rows],
    ).fetchall()
    own = found["self_repair"]
    assert [own["one_mean"], own["other_mean"]] == pytest.approx([means[0][1], means[1][1]])
    assert [own["one_se"], own["other_se"]] == pytest.approx([means[0][2], means[1][2]])
    assert own["difference"] == pytest.approx(means[1][1] - means[0][1])
    assert own["is_paired"]
    influences = published.execute(
        "select cluster, sum(if(layer = 2, self_repair, -self_repair)) from head_influences"
        " where run_id = 'first' and ablation = 'resample' and row_set = ?"
        " and (layer, head) in ((1, 0), (2, 1)) group by all",
        [rows],
    ).fetchall()
    n = len(influences)
    by_hand = (n / (n - 1) * sum(value**2 for _, value in influences)) ** 0.5
    assert own["difference_se"] == pytest.approx(by_hand)
    assert own["n_clusters_paired"] == n
    assert len(found) == 20


def test_a_head_differs_from_itself_by_nothing(published: duckdb.DuckDBPyConnection) -> None:
    found = compared(published, side("first", 1, 0), side("first", 1, 0))
    assert {row["difference"] for row in found.values()} == {0}
    assert {row["difference_se"] for row in found.values()} == {0}


def test_other_text_has_independent_errors(published: duckdb.DuckDBPyConnection) -> None:
    own = compared(published, side("first", 1, 0), side("third", 1, 0))["logit_change"]
    assert not own["is_paired"]
    assert own["difference_se"] == pytest.approx((own["one_se"] ** 2 + own["other_se"] ** 2) ** 0.5)
