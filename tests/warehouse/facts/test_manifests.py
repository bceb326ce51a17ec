"""The manifest of a table: it names what counts, and notices what changed."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from selfrepair.warehouse.errors import WarehouseError
from selfrepair.warehouse.facts.run_facts import (
    measured_tables,
    restore_manifests,
    set_damaged_aside,
)
from selfrepair.warehouse.facts.run_table import RunTable
from selfrepair.warehouse.paths import Warehouse
from tests.faults.faults import harmed
from tests.helpers.runs.small_run import FINGERPRINT, planned, run_row, tables, write_run


def test_a_manifest_names_what_counts_and_clears_the_rest(warehouse: Warehouse) -> None:
    row = run_row()
    write_run(warehouse, row, shard=1)  # of another shard size, left over
    folder = warehouse.facts("tokens", "toy")
    (folder / "notes.txt").write_text("somebody's")
    paths = write_run(warehouse, row, shard=2)["tokens"]
    assert sorted(p.name for p in folder.iterdir()) == [
        "manifest.json",
        "notes.txt",
        *(p.name for p in paths),
    ]
    manifest = RunTable(warehouse, "tokens", "toy").manifest()
    assert manifest is not None
    assert manifest["spec_fingerprint"] == FINGERPRINT
    assert [shard["rows"] for shard in manifest["shards"]] == [8, 4]
    assert RunTable(warehouse, "tokens", "toy").row_count() == 12
    assert RunTable(warehouse, "tokens", "toy").files() == paths


def test_a_manifest_is_refused_for_shards_that_are_not_the_whole(warehouse: Warehouse) -> None:
    def manifest(fingerprint: str, *shards: Path) -> None:
        RunTable(warehouse, "tokens", "toy").write_manifest(fingerprint, shards)

    first, last = write_run(warehouse, run_row(), shard=2)["tokens"]
    (warehouse.facts("tokens", "toy") / "manifest.json").unlink()
    with pytest.raises(WarehouseError, match="sequence 0 should begin"):
        manifest(FINGERPRINT, last)
    with pytest.raises(WarehouseError, match="measured for another spec"):
        manifest("another", first, last)
    absent = first.with_name(first.name.replace("000000-000002", "000003-000005"))
    with pytest.raises(WarehouseError, match="missing, damaged"):
        manifest(FINGERPRINT, first, last, absent)
    assert RunTable(warehouse, "tokens", "toy").manifest() is None


def test_a_flipped_byte_is_found(warehouse: Warehouse) -> None:
    _, last = write_run(warehouse, run_row())["direct_effects"]
    RunTable(warehouse, "direct_effects", "toy").verify()
    seen = last.stat()
    harmed(last, "bit flip")
    os.utime(last, ns=(seen.st_atime_ns, seen.st_mtime_ns))  # damage does not change the clock
    with pytest.raises(WarehouseError, match=f"{last} is damaged, it is not what was measured"):
        RunTable(warehouse, "direct_effects", "toy").verify()
    last.unlink()
    with pytest.raises(WarehouseError, match=f"{last} is gone"):
        RunTable(warehouse, "direct_effects", "toy").verify()


def test_a_damaged_shard_never_gets_into_a_manifest(warehouse: Warehouse) -> None:
    shards = write_run(warehouse, run_row())["direct_effects"]
    manifest = warehouse.facts("direct_effects", "toy") / "manifest.json"
    manifest.unlink()
    harmed(shards[0], "bit flip")
    with pytest.raises(WarehouseError, match="missing, damaged or measured for another spec"):
        RunTable(warehouse, "direct_effects", "toy").write_manifest(FINGERPRINT, shards)
    with pytest.raises(WarehouseError, match="1 of 2 shards are missing or damaged"):
        restore_manifests(warehouse, "toy")
    assert not manifest.exists()


def test_what_is_damaged_is_set_aside_and_its_manifest_withdrawn(warehouse: Warehouse) -> None:
    paths = write_run(warehouse, run_row())
    assert set_damaged_aside(warehouse, "toy") == []
    first, last = paths["direct_effects"]
    harmed(last, "bit flip")
    assert RunTable(warehouse, "direct_effects", "toy").damaged() == [last]
    assert set_damaged_aside(warehouse, "toy") == [last]
    there = {path.name for path in first.parent.iterdir()}
    [aside] = [name for name in there if ".damaged-" in name]
    assert aside.startswith(last.name)
    assert there == {first.name, aside}
    # Measured again, it is the same file, and the table is complete.
    again = RunTable(warehouse, "direct_effects", "toy").write(
        2, 3, tables(run_row(), 2, 3)["direct_effects"], FINGERPRINT
    )
    assert again == last
    RunTable(warehouse, "direct_effects", "toy").write_manifest(FINGERPRINT, [first, again])
    RunTable(warehouse, "direct_effects", "toy").verify()


def test_no_entry_of_a_manifest_replaces_another_checksum(warehouse: Warehouse) -> None:
    first, last = write_run(warehouse, run_row())["direct_effects"]
    columns = tables(run_row(seed=9), 2, 3)["direct_effects"]
    other = RunTable(warehouse, "direct_effects", "toy").write(2, 3, columns, FINGERPRINT)
    assert other != last
    before = (first.parent / "manifest.json").read_bytes()
    with pytest.raises(WarehouseError, match="is not the file that the manifest names"):
        RunTable(warehouse, "direct_effects", "toy").write_manifest(FINGERPRINT, [first, other])
    assert (first.parent / "manifest.json").read_bytes() == before
    assert last.exists()


def test_dropped_shards_are_not_taken_for_unmeasured_ones(warehouse: Warehouse) -> None:
    paths = write_run(warehouse, run_row())["tokens"]
    with pytest.raises(WarehouseError, match="not measured to the end"):
        RunTable(warehouse, "tokens", "another").verify()
    RunTable(warehouse, "tokens", "toy").drop()
    assert not any(path.exists() for path in paths)
    with pytest.raises(WarehouseError, match="were dropped after it was published"):
        RunTable(warehouse, "tokens", "toy").verify()


GARBLED = ["", "{", "{}", "[]", "null", '{"sha256": "x", "shards": []}', "[" * 100_000, "\x00" * 50]


@pytest.mark.parametrize("text", GARBLED)
def test_a_damaged_manifest_is_one_clear_line_and_written_anew(
    warehouse: Warehouse, text: str
) -> None:
    write_run(warehouse, run_row())
    path = warehouse.facts("tokens", "toy") / "manifest.json"
    before = path.read_bytes()
    path.write_text(text)
    with pytest.raises(WarehouseError, match=r"manifest.json is damaged: `selfrepair publish` wri"):
        RunTable(warehouse, "tokens", "toy").manifest()
    [told] = restore_manifests(warehouse, "toy")
    assert "manifest.json was damaged: it is written anew" in told
    assert path.read_bytes() == before
    assert restore_manifests(warehouse, "toy") == []
    [aside] = path.parent.glob("manifest.json.damaged-*")
    assert aside.read_text() == text


def test_a_table_that_should_be_there_and_is_not_is_an_error(warehouse: Warehouse) -> None:
    """A lost manifest of a detail table dropped its rows without a word."""
    write_run(warehouse, run_row())
    columns = {
        "ablation": np.array("zero"), "layer": np.array(0), "head": np.array([0, 1]),
        "sequence": np.array(0), "position": np.array(0),
        "head_changes": [[0.5], [0.25]], "mlp_changes": [[1.5], []],
    }  # fmt: skip
    details = RunTable(warehouse, "component_changes", "toy")
    shard = details.write(0, 3, columns, FINGERPRINT)
    planned(details, FINGERPRINT, [shard])
    shutil.rmtree(shard.parent)
    assert details in measured_tables(warehouse, "toy")
    with pytest.raises(WarehouseError, match="of component_changes, 1 of 1 shards are missing"):
        restore_manifests(warehouse, "toy")


def test_the_manifest_is_the_documented_json(warehouse: Warehouse) -> None:
    (path,) = write_run(warehouse, run_row(), shard=3)["sequences"]
    manifest = json.loads((path.parent / "manifest.json").read_text())
    (shard,) = manifest.pop("shards")
    assert len(manifest.pop("sha256")) == 64
    assert manifest == {
        "table": "sequences",
        "run_id": "toy",
        "spec_fingerprint": FINGERPRINT,
        "dropped": False,
    }
    assert shard["file"] == path.name
    assert shard["bytes"] == os.path.getsize(path)
    assert shard["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
