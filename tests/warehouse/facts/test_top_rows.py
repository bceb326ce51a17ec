"""The rows that details are measured at: the same as the published views' top rows."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from selfrepair.warehouse import layers_together
from selfrepair.warehouse.errors import WarehouseError
from selfrepair.warehouse.facts.run_table import RunTable
from selfrepair.warehouse.facts.top_rows import (
    effect_floors,
    most_direct_heads,
    top_rows,
    top_rows_by_mlp_repair,
)
from selfrepair.warehouse.paths import Warehouse
from selfrepair.warehouse.published.publish import publish
from selfrepair.warehouse.published.read import open_serving
from selfrepair.warehouse.sql_files import relations
from tests.helpers.runs.small_run import FINGERPRINT, planned, run_row, tables, write_run

ROW = run_row(n_sequences=10, n_layers=3, layer_precision=["fp32"] * 3)


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    return Warehouse(tmp_path / "it's").prepare()


def as_rows(places: dict[str, Any]) -> list[tuple[Any, ...]]:
    return list(zip(*(column.tolist() for column in places.values()), strict=True))


def of_one_head(warehouse: Warehouse, effects: list[float], **run: Any) -> dict[str, Any]:
    """A run of one head with these direct effects, in two sequences of equal length."""
    n = len(effects) // 2
    row = run_row("it's one", n_layers=1, n_heads=1, n_sequences=2, sequence_length=n + 1, **run)
    columns = {
        "layer": np.array(0),
        "head": np.array(0),
        "sequence": np.arange(2)[:, None],
        "position": np.arange(n),
        "direct_effect": np.array(effects).reshape(2, n),
    }
    path = RunTable(warehouse, "direct_effects", row["run_id"]).write(0, 2, columns, FINGERPRINT)
    planned(RunTable(warehouse, "direct_effects", row["run_id"]), FINGERPRINT, [path])
    return row


def test_top_rows_are_the_largest_signed_ones_and_ties_go_by_place(warehouse: Warehouse) -> None:
    #          sequence 0           sequence 1
    effects = [1.0, 5, -9, 0, 4, 5, 3, 4, -2, 4]
    row = of_one_head(warehouse, effects, top_fraction=0.3)
    assert as_rows(top_rows(warehouse, row)) == [(0, 0, 0, 1), (0, 0, 0, 4), (0, 0, 1, 0)]


def test_they_are_the_rows_of_the_published_views(warehouse: Warehouse) -> None:
    write_run(warehouse, ROW, shard=3)
    publish(warehouse, ROW)
    found = top_rows(warehouse, ROW)
    by_repair = top_rows_by_mlp_repair(warehouse, ROW, [(2, 1), (0, 0), (2, 1)])
    with open_serving(warehouse) as connection:
        published = connection.execute(
            "select layer, head, sequence, position from top_by_direct_effect"
            " where ablation = 'zero' order by all"
        ).fetchall()
        published_by_repair = connection.execute(
            "select ablation, layer, head, sequence, position from top_by_mlp_repair"
            " where (layer, head) in ((2, 1), (0, 0)) order by all"
        ).fetchall()
    assert list(found) == ["layer", "head", "sequence", "position"]
    assert as_rows(found) == published
    assert len(published) == 3 * 2 * (10 * 4 // 4)
    assert list(by_repair) == ["ablation", "layer", "head", "sequence", "position"]
    assert as_rows(by_repair) == published_by_repair
    assert len(published_by_repair) == 2 * 2 * 10


def test_only_ablated_heads_have_top_rows(warehouse: Warehouse) -> None:
    write_run(warehouse, ROW)
    found = top_rows(warehouse, ROW | {"heads": ["L0H1", "L2H0"]})
    assert {row[:2] for row in as_rows(found)} == {(0, 1), (2, 0)}
    assert as_rows(top_rows_by_mlp_repair(warehouse, ROW, [])) == []


def test_layers_are_asked_together_or_one_by_one(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(warehouse, ROW)
    together = as_rows(top_rows(warehouse, ROW)), effect_floors(warehouse, ROW)
    assert [floor[:2] for floor in together[1]] == [(n // 2, n % 2) for n in range(6)]
    monkeypatch.setattr(layers_together, "ROWS_AT_ONCE", 1)
    assert (as_rows(top_rows(warehouse, ROW)), effect_floors(warehouse, ROW)) == together


def test_no_row_is_given_a_name_to_look_it_up_in_runs_heads() -> None:
    """It takes 14 times as long as to rank the rows; they are joined with ablated_heads()."""
    assert [found.name for found in relations() if "list_contains(heads" in found.body] == [
        "ablated_heads"
    ]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [(2, 1), (1, 0), (0, 1), (2, 0)]),
        ({"parallel_attention": True}, [(1, 0), (0, 1), (0, 0), (1, 1)]),
        ({"heads": ["L0H0", "L2H1", "L1H0"]}, [(2, 1), (1, 0), (0, 0)]),
    ],
)
def test_most_direct_heads(
    warehouse: Warehouse, changes: dict[str, Any], expected: list[tuple[int, int]]
) -> None:
    #          head 0, head 1
    means = [[1.0, 3.0], [4.0, -9.0], [2.0, 5.0]]  # of layers 0, 1, 2
    columns = tables(ROW, 0, 10)["direct_effects"]
    noise = np.array([-0.5, 0.5, -0.25, 0.25])
    columns["direct_effect"] = np.array(means)[:, :, None, None] + np.tile(noise, (10, 1))
    path = RunTable(warehouse, "direct_effects", "toy").write(0, 10, columns, FINGERPRINT)
    planned(RunTable(warehouse, "direct_effects", "toy"), FINGERPRINT, [path])
    assert most_direct_heads(warehouse, ROW | changes) == expected
    assert most_direct_heads(warehouse, ROW | changes, n=2) == expected[:2]


def test_a_run_without_direct_effects_is_one_clear_line(warehouse: Warehouse) -> None:
    with pytest.raises(WarehouseError, match=r"toy is not measured to the end \(direct_effects"):
        top_rows(warehouse, ROW)


def test_a_shard_may_hold_no_top_row(warehouse: Warehouse) -> None:
    names = ("ablation", "layer", "head", "sequence", "position")
    columns = {name: np.array([], dtype=str if name == "ablation" else int) for name in names}
    columns |= {"head_changes": np.zeros((0, 2)), "mlp_changes": np.zeros((0, 2))}
    path = RunTable(warehouse, "component_changes", "toy").write(0, 2, columns, FINGERPRINT)
    manifest = planned(RunTable(warehouse, "component_changes", "toy"), FINGERPRINT, [path])
    assert [shard["rows"] for shard in manifest["shards"]] == [0]
    write_run(warehouse, run_row())
    assert publish(warehouse, run_row()).rows["component_changes"] == 0


@pytest.mark.parametrize(
    "effects",
    [
        np.array([[1.0, 2], [3, 4]]),
        [np.array([1.0, 2], dtype="f4"), [3.0, 4.0]],
        pa.array([[1.0, 2], [3, 4]]),
        pa.chunked_array([pa.array([[1.0, 2]]), pa.array([[3.0, 4]])]),
    ],
    ids=["matrix", "arrays", "arrow", "chunks"],
)
def test_lists_of_neurons_are_given_in_any_usual_form(warehouse: Warehouse, effects: Any) -> None:
    columns = {
        "ranking": np.array("mlp_repair"),
        "ablation": np.array("zero"),
        "layer": np.array(1),
        "head": np.array([1, 0]),
        "sequence": np.array([0, 1]),
        "position": np.array([2, 3]),
        "direct_effects": effects,
        "direct_effects_ablated": np.zeros((2, 0)),
    }
    path = RunTable(warehouse, "neuron_changes", "toy").write(0, 2, columns, FINGERPRINT)
    planned(RunTable(warehouse, "neuron_changes", "toy"), FINGERPRINT, [path])
    write_run(warehouse, run_row())
    made = publish(warehouse, run_row())
    assert made.rows["neuron_changes"] == 2
    with open_serving(warehouse) as connection:
        assert connection.execute("select * exclude (run_id) from neuron_changes").fetchall() == [
            ("mlp_repair", "zero", 1, 0, 1, 3, [3.0, 4.0], []),
            ("mlp_repair", "zero", 1, 1, 0, 2, [1.0, 2.0], []),
        ]
