"""Shards: whole or not at all, sorted, and noticed when they change."""

import hashlib
import os
import random
import subprocess
import sys
from pathlib import Path

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest

from selfrepair.warehouse.errors import WarehouseError
from selfrepair.warehouse.facts import shards as facts
from selfrepair.warehouse.facts.run_facts import (
    remove_leftovers,
)
from selfrepair.warehouse.facts.run_table import RunTable
from selfrepair.warehouse.facts.tables import fact_tables, schema
from selfrepair.warehouse.paths import Warehouse
from selfrepair.warehouse.sealed import is_intact
from tests.helpers.runs.small_run import FINGERPRINT, NEEDED, run_row, tables

EFFECTS = {
    "layer": np.array([[1], [0]]),
    "head": np.array([[0], [1]]),
    "sequence": np.array([0, 0, 1]),
    "position": np.array([0, 1, 0]),
    "direct_effect": np.array([[1, 2, 3], [4, 5, 6]], dtype="f4"),
}


def test_a_shard_gives_back_its_rows_sorted_by_head(warehouse: Warehouse) -> None:
    path = RunTable(warehouse, "direct_effects", "a/b").write(0, 2, EFFECTS, FINGERPRINT)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    folder = warehouse.root / "facts/direct_effects/run=a%2Fb"
    assert path == folder / f"sequences-000000-000002.{digest}.parquet"
    assert duckdb.execute(
        "from read_parquet(?, hive_partitioning=false)", [str(path)]
    ).fetchall() == [
        (0, 1, 0, 0, 4.0),
        (0, 1, 0, 1, 5.0),
        (0, 1, 1, 0, 6.0),
        (1, 0, 0, 0, 1.0),
        (1, 0, 0, 1, 2.0),
        (1, 0, 1, 0, 3.0),
    ]
    assert pq.read_schema(path).remove_metadata() == schema("direct_effects")
    assert pq.read_metadata(path).metadata[b"spec_fingerprint"] == FINGERPRINT.encode()


def test_a_shard_in_parts_holds_the_rows_of_all_of_them(warehouse: Warehouse) -> None:
    by_layer = ("layer", "head", "direct_effect")
    of_layer = [
        {name: c[i] if name in by_layer else c for name, c in EFFECTS.items()} for i in (1, 0)
    ]
    effects = RunTable(warehouse, "direct_effects", "toy")
    whole = pq.read_table(effects.write(0, 2, EFFECTS, FINGERPRINT))
    empty = {name: np.empty(0, dtype=int) for name in EFFECTS}
    path = effects.write(0, 2, iter([of_layer[0], empty, of_layer[1]]), FINGERPRINT)
    assert pq.read_table(path).equals(whole)
    assert pq.read_metadata(path).num_row_groups == 2
    assert is_intact(path)
    assert pq.read_metadata(effects.write(0, 2, [], FINGERPRINT)).num_rows == 0


def test_parts_out_of_order_are_refused_and_nothing_is_written(warehouse: Warehouse) -> None:
    effects = RunTable(warehouse, "direct_effects", "toy")
    with pytest.raises(
        WarehouseError, match=r"a part begins at \(0, 1, 0, 0\), after \(1, 0, 1, 0"
    ):
        effects.write(0, 2, [EFFECTS, EFFECTS], FINGERPRINT)
    assert not list(warehouse.root.rglob("*.parquet"))


def test_schemas_come_from_the_tables_without_run_id() -> None:
    assert set(NEEDED) <= set(fact_tables())
    assert {"runs", "generation"}.isdisjoint(fact_tables())
    assert schema("sequences").names == [
        "sequence",
        "resample_partner",
        "document_numbers",
        "document_names",
    ]
    with pytest.raises(WarehouseError, match="no table 'neurons'"):
        schema("neurons")


def test_row_groups_hold_whole_heads_of_one_layer(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facts, "ROW_GROUP", 1)
    row = run_row(n_layers=3, n_heads=2)
    columns = tables(row, 0, 2)["head_ablations"]
    path = RunTable(warehouse, "head_ablations", "toy").write(0, 2, columns, FINGERPRINT)
    metadata = pq.read_metadata(path)
    heads = []
    for i in range(metadata.num_row_groups):
        ranges = [metadata.row_group(i).column(c).statistics for c in range(3)]
        assert [r.min for r in ranges] == [r.max for r in ranges]
        heads.append(tuple(r.min for r in ranges))
    assert heads == [
        (ablation, layer, head)
        for ablation in ("resample", "zero")
        for layer in range(3)
        for head in range(2)
    ]
    monkeypatch.setattr(facts, "ROW_GROUP", 100_000)  # more than a layer has: a layer a group
    path = RunTable(warehouse, "head_ablations", "toy").write(0, 2, columns, FINGERPRINT)
    assert pq.read_metadata(path).num_row_groups == 2 * 3


def test_columns_of_lists_are_sorted_with_their_rows(warehouse: Warehouse) -> None:
    columns = {
        "ablation": np.array("zero"),
        "layer": np.array(0),
        "head": np.array([1, 0]),
        "sequence": np.array(0),
        "position": np.array(0),
        "head_changes": [np.array([1.5, 2.5], dtype="f4"), np.array([], dtype="f4")],
        "mlp_changes": [[3.0], [4.0, 5.0]],
    }
    path = RunTable(warehouse, "component_changes", "toy").write(0, 1, columns, FINGERPRINT)
    assert duckdb.execute(
        "select head, head_changes, mlp_changes from read_parquet(?)", [str(path)]
    ).fetchall() == [(0, [], [4.0, 5.0]), (1, [1.5, 2.5], [3.0])]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layer": None}, r"missing \['layer'\]"),
        ({"logit": np.zeros(3)}, r"unknown columns \['logit'\]"),
        ({"sequence": np.array([0, 1, 2])}, "was given sequences 0 to 2"),
        ({"head": np.array([[0], [40_000]])}, "cannot write a shard of direct_effects for toy"),
        ({"direct_effect": np.zeros((2, 5))}, "shapes"),
    ],
)
def test_columns_that_do_not_fit_are_refused_and_leave_nothing(
    warehouse: Warehouse, change: dict[str, np.ndarray | None], message: str
) -> None:
    columns = {n: v for n, v in (EFFECTS | change).items() if v is not None}
    with pytest.raises(WarehouseError, match=message):
        RunTable(warehouse, "direct_effects", "toy").write(0, 2, columns, FINGERPRINT)
    folder = warehouse.facts("direct_effects", "toy")
    assert not folder.exists() or list(folder.iterdir()) == []


def test_a_shard_counts_for_its_own_spec_only(warehouse: Warehouse) -> None:
    effects = RunTable(warehouse, "direct_effects", "toy")
    assert effects.intact(0, 2, FINGERPRINT) is None
    path = effects.write(0, 2, EFFECTS, FINGERPRINT)
    assert effects.intact(0, 2, FINGERPRINT) == path
    assert effects.intact(0, 2, "another spec") is None
    path.write_bytes(path.read_bytes()[:-10])
    assert effects.intact(0, 2, FINGERPRINT) is None


def test_a_shard_of_which_any_byte_differs_does_not_count(warehouse: Warehouse) -> None:
    effects = RunTable(warehouse, "direct_effects", "toy")
    path = effects.write(0, 2, EFFECTS, FINGERPRINT)
    data = path.read_bytes()
    for place in random.Random(5).sample(range(len(data)), 40):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        assert effects.intact(0, 2, FINGERPRINT) is None, place
    path.write_bytes(data)
    assert effects.intact(0, 2, FINGERPRINT) == path


def test_what_is_hashed_is_what_was_meant_not_what_the_disk_has(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A byte that flips between the writer and the disk is no part of the name."""
    replace = os.replace

    def flip(temporary: Path, final: Path) -> None:
        data = bytearray(temporary.read_bytes())
        data[len(data) // 2] ^= 4
        temporary.write_bytes(data)
        replace(temporary, final)

    monkeypatch.setattr(os, "replace", flip)
    effects = RunTable(warehouse, "direct_effects", "toy")
    path = effects.write(0, 2, EFFECTS, FINGERPRINT)
    assert path.is_file()
    assert effects.intact(0, 2, FINGERPRINT) is None


KILLED = """
import os, signal, sys
from tests.warehouse.facts.test_shards import EFFECTS, FINGERPRINT, RunTable, Warehouse
os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
RunTable(Warehouse(sys.argv[1]), "direct_effects", "toy").write(0, 2, EFFECTS, FINGERPRINT)
"""


def test_a_writer_killed_before_the_rename_leaves_no_shard(warehouse: Warehouse) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, str(warehouse.root)], check=False)
    assert killed.returncode == -9
    effects = RunTable(warehouse, "direct_effects", "toy")
    (leftover,) = warehouse.facts("direct_effects", "toy").iterdir()
    assert ".parquet.tmp-" in leftover.name
    assert effects.intact(0, 2, FINGERPRINT) is None
    path = effects.write(0, 2, EFFECTS, FINGERPRINT)
    # It may be another living writer's: it goes when somebody holds the run.
    assert sorted(path.parent.iterdir()) == sorted([path, leftover])
    remove_leftovers(warehouse, "toy")
    assert list(path.parent.iterdir()) == [path]
