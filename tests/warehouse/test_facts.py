"""Shards and manifests: whole or not at all, sorted, and noticed when they change."""

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest

from selfrepair.warehouse.errors import WarehouseError
from selfrepair.warehouse.facts import shards as facts
from selfrepair.warehouse.facts.manifest import (
    damaged_shards,
    drop_shards,
    measured_tables,
    read_manifest,
    remove_leftovers,
    restore_manifests,
    row_count,
    set_damaged_aside,
    shard_files,
    verify_manifest,
    write_manifest,
)
from selfrepair.warehouse.facts.shards import intact_shard, write_shard
from selfrepair.warehouse.facts.tables import fact_tables, schema
from selfrepair.warehouse.paths import Warehouse, slug
from selfrepair.warehouse.sealed import is_intact
from tests.helpers.runs.small_run import FINGERPRINT, NEEDED, planned, run_row, tables, write_run


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    return Warehouse(tmp_path / "data").prepare()


EFFECTS = {
    "layer": np.array([[1], [0]]),
    "head": np.array([[0], [1]]),
    "sequence": np.array([0, 0, 1]),
    "position": np.array([0, 1, 0]),
    "direct_effect": np.array([[1, 2, 3], [4, 5, 6]], dtype="f4"),
}


def test_a_shard_gives_back_its_rows_sorted_by_head(warehouse: Warehouse) -> None:
    path = write_shard(warehouse, "direct_effects", "a/b", 0, 2, EFFECTS, FINGERPRINT)
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
    asked = (warehouse, "direct_effects", "toy", 0, 2)
    whole = pq.read_table(write_shard(*asked, EFFECTS, FINGERPRINT))
    empty = {name: np.empty(0, dtype=int) for name in EFFECTS}
    path = write_shard(*asked, iter([of_layer[0], empty, of_layer[1]]), FINGERPRINT)
    assert pq.read_table(path).equals(whole)
    assert pq.read_metadata(path).num_row_groups == 2
    assert is_intact(path)
    assert pq.read_metadata(write_shard(*asked, [], FINGERPRINT)).num_rows == 0


def test_parts_out_of_order_are_refused_and_nothing_is_written(warehouse: Warehouse) -> None:
    asked = (warehouse, "direct_effects", "toy", 0, 2)
    with pytest.raises(
        WarehouseError, match=r"a part begins at \(0, 1, 0, 0\), after \(1, 0, 1, 0"
    ):
        write_shard(*asked, [EFFECTS, EFFECTS], FINGERPRINT)
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
    path = write_shard(warehouse, "head_ablations", "toy", 0, 2, columns, FINGERPRINT)
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
    path = write_shard(warehouse, "head_ablations", "toy", 0, 2, columns, FINGERPRINT)
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
    path = write_shard(warehouse, "component_changes", "toy", 0, 1, columns, FINGERPRINT)
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
        write_shard(warehouse, "direct_effects", "toy", 0, 2, columns, FINGERPRINT)
    folder = warehouse.facts("direct_effects", "toy")
    assert not folder.exists() or list(folder.iterdir()) == []


def test_a_shard_counts_for_its_own_spec_only(warehouse: Warehouse) -> None:
    asked = (warehouse, "direct_effects", "toy", 0, 2)
    assert intact_shard(*asked, FINGERPRINT) is None
    path = write_shard(*asked, EFFECTS, FINGERPRINT)
    assert intact_shard(*asked, FINGERPRINT) == path
    assert intact_shard(*asked, "another spec") is None
    path.write_bytes(path.read_bytes()[:-10])
    assert intact_shard(*asked, FINGERPRINT) is None


def test_a_shard_of_which_any_byte_differs_does_not_count(warehouse: Warehouse) -> None:
    asked = (warehouse, "direct_effects", "toy", 0, 2)
    path = write_shard(*asked, EFFECTS, FINGERPRINT)
    data = path.read_bytes()
    for place in random.Random(5).sample(range(len(data)), 40):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        assert intact_shard(*asked, FINGERPRINT) is None, place
    path.write_bytes(data)
    assert intact_shard(*asked, FINGERPRINT) == path


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
    asked = (warehouse, "direct_effects", "toy", 0, 2)
    path = write_shard(*asked, EFFECTS, FINGERPRINT)
    assert path.is_file()
    assert intact_shard(*asked, FINGERPRINT) is None


KILLED = """
import os, signal, sys
from tests.warehouse.test_facts import EFFECTS, FINGERPRINT, Warehouse, write_shard
os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
write_shard(Warehouse(sys.argv[1]), "direct_effects", "toy", 0, 2, EFFECTS, FINGERPRINT)
"""


def test_a_writer_killed_before_the_rename_leaves_no_shard(warehouse: Warehouse) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, str(warehouse.root)], check=False)
    assert killed.returncode == -9
    asked = (warehouse, "direct_effects", "toy", 0, 2)
    (leftover,) = warehouse.facts("direct_effects", "toy").iterdir()
    assert ".parquet.tmp-" in leftover.name
    assert intact_shard(*asked, FINGERPRINT) is None
    path = write_shard(*asked, EFFECTS, FINGERPRINT)
    # It may be another living writer's: it goes when somebody holds the run.
    assert sorted(path.parent.iterdir()) == sorted([path, leftover])
    remove_leftovers(warehouse, "toy")
    assert list(path.parent.iterdir()) == [path]


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
    manifest = read_manifest(warehouse, "tokens", "toy")
    assert manifest is not None
    assert manifest["spec_fingerprint"] == FINGERPRINT
    assert [shard["rows"] for shard in manifest["shards"]] == [8, 4]
    assert row_count(warehouse, "tokens", "toy") == 12
    assert shard_files(warehouse, "tokens", "toy") == paths


def test_a_manifest_is_refused_for_shards_that_are_not_the_whole(warehouse: Warehouse) -> None:
    def manifest(fingerprint: str, *shards: Path) -> None:
        write_manifest(warehouse, "tokens", "toy", fingerprint, shards)

    first, last = write_run(warehouse, run_row(), shard=2)["tokens"]
    (warehouse.facts("tokens", "toy") / "manifest.json").unlink()
    with pytest.raises(WarehouseError, match="sequence 0 should begin"):
        manifest(FINGERPRINT, last)
    with pytest.raises(WarehouseError, match="measured for another spec"):
        manifest("another", first, last)
    absent = first.with_name(first.name.replace("000000-000002", "000003-000005"))
    with pytest.raises(WarehouseError, match="missing, damaged"):
        manifest(FINGERPRINT, first, last, absent)
    assert read_manifest(warehouse, "tokens", "toy") is None


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_flipped_byte_is_found(warehouse: Warehouse) -> None:
    _, last = write_run(warehouse, run_row())["direct_effects"]
    verify_manifest(warehouse, "direct_effects", "toy")
    seen = last.stat()
    flip(last)
    os.utime(last, ns=(seen.st_atime_ns, seen.st_mtime_ns))  # damage does not change the clock
    with pytest.raises(WarehouseError, match=f"{last} is damaged, it is not what was measured"):
        verify_manifest(warehouse, "direct_effects", "toy")
    last.unlink()
    with pytest.raises(WarehouseError, match=f"{last} is gone"):
        verify_manifest(warehouse, "direct_effects", "toy")


def test_a_damaged_shard_never_gets_into_a_manifest(warehouse: Warehouse) -> None:
    shards = write_run(warehouse, run_row())["direct_effects"]
    manifest = warehouse.facts("direct_effects", "toy") / "manifest.json"
    manifest.unlink()
    flip(shards[0])
    with pytest.raises(WarehouseError, match="missing, damaged or measured for another spec"):
        write_manifest(warehouse, "direct_effects", "toy", FINGERPRINT, shards)
    with pytest.raises(WarehouseError, match="1 of 2 shards are missing or damaged"):
        restore_manifests(warehouse, "toy")
    assert not manifest.exists()


def test_what_is_damaged_is_set_aside_and_its_manifest_withdrawn(warehouse: Warehouse) -> None:
    paths = write_run(warehouse, run_row())
    assert set_damaged_aside(warehouse, "toy") == []
    first, last = paths["direct_effects"]
    flip(last)
    assert damaged_shards(warehouse, "direct_effects", "toy") == [last]
    assert set_damaged_aside(warehouse, "toy") == [last]
    there = {path.name for path in first.parent.iterdir()}
    [aside] = [name for name in there if ".damaged-" in name]
    assert aside.startswith(last.name)
    assert there == {first.name, aside}
    # Measured again, it is the same file, and the table is complete.
    again = write_shard(
        warehouse, "direct_effects", "toy", 2, 3, tables(run_row(), 2, 3)["direct_effects"],
        FINGERPRINT,
    )  # fmt: skip
    assert again == last
    write_manifest(warehouse, "direct_effects", "toy", FINGERPRINT, [first, again])
    verify_manifest(warehouse, "direct_effects", "toy")


def test_no_entry_of_a_manifest_replaces_another_checksum(warehouse: Warehouse) -> None:
    first, last = write_run(warehouse, run_row())["direct_effects"]
    columns = tables(run_row(seed=9), 2, 3)["direct_effects"]
    other = write_shard(warehouse, "direct_effects", "toy", 2, 3, columns, FINGERPRINT)
    assert other != last
    before = (first.parent / "manifest.json").read_bytes()
    with pytest.raises(WarehouseError, match="is not the file that the manifest names"):
        write_manifest(warehouse, "direct_effects", "toy", FINGERPRINT, [first, other])
    assert (first.parent / "manifest.json").read_bytes() == before
    assert last.exists()


def test_dropped_shards_are_not_taken_for_unmeasured_ones(warehouse: Warehouse) -> None:
    paths = write_run(warehouse, run_row())["tokens"]
    with pytest.raises(WarehouseError, match="not measured to the end"):
        verify_manifest(warehouse, "tokens", "another")
    drop_shards(warehouse, "tokens", "toy")
    assert not any(path.exists() for path in paths)
    with pytest.raises(WarehouseError, match="were dropped after it was published"):
        verify_manifest(warehouse, "tokens", "toy")


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
        read_manifest(warehouse, "tokens", "toy")
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
    shard = write_shard(warehouse, "component_changes", "toy", 0, 3, columns, FINGERPRINT)
    planned(warehouse, "component_changes", "toy", FINGERPRINT, [shard])
    shutil.rmtree(shard.parent)
    assert "component_changes" in measured_tables(warehouse, "toy")
    with pytest.raises(WarehouseError, match="of component_changes, 1 of 1 shards are missing"):
        restore_manifests(warehouse, "toy")


def test_run_ids_become_names_that_stay_inside_their_folder() -> None:
    names = [
        "gpt2",
        "a/b",
        "a%2Fb",
        "a/b@main",
        "..",
        "%2E.",
        "/home/x/model",
        "x" * 200,
        "x" * 201,
    ]
    slugs = [slug(name) for name in names]
    assert len(set(slugs)) == len(names)
    assert all("/" not in s and s not in (".", "..") and len(s) <= 150 for s in slugs)
    assert slug("EleutherAI/pythia-160m") == "EleutherAI%2Fpythia-160m"


@pytest.mark.parametrize("name", ["", " ", "\t\n"])
def test_an_empty_name_is_no_folder(warehouse: Warehouse, name: str) -> None:
    """`selfrepair delete "$UNSET"` took the folder of all runs for this run's."""
    for make_path in (warehouse.run_folder, lambda run_id: warehouse.facts("tokens", run_id)):
        with pytest.raises(WarehouseError, match="the name of the run is empty"):
            make_path(name)


def test_a_folder_that_cannot_be_used_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WarehouseError, match="file is a file: choose a folder"):
        Warehouse(tmp_path / "file").prepare()
    with pytest.raises(WarehouseError, match="a part of that path is a file"):
        Warehouse(tmp_path / "file" / "below").prepare()


FORBIDDEN = """
import os, sys
from selfrepair.warehouse.paths import Warehouse
from selfrepair.warehouse.errors import WarehouseError
if os.geteuid() == 0:
    os.seteuid(65534)  # root may write anywhere
try:
    Warehouse(sys.argv[1]).prepare()
except WarehouseError as error:
    print(error)
"""


def test_a_read_only_folder_is_one_clear_line(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    told = subprocess.run(
        [sys.executable, "-c", FORBIDDEN, str(tmp_path / "data")],
        capture_output=True,
        text=True,
        check=True,
    )
    tmp_path.chmod(0o755)
    assert told.stdout.count("\n") == 1
    assert "permission denied: choose a warehouse folder" in told.stdout


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
