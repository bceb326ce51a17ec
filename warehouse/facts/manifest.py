"""Which shards of a run count: the manifest of a table.

    {"sha256": ..., "table": ..., "run_id": ..., "spec_fingerprint": ..., "dropped": false,
     "shards": [{"file": ..., "rows": ..., "bytes": ..., "sha256": ...}]}

It is written, atomically, when all shards of a table are there. Readers take the files that it
names; nobody looks through a folder that is still being written. `dropped` says that the shards
were removed after publishing (`keep_shards=False`), so that the run can only be measured again.

A shard's checksum is the one in its name, from when it was written; it is never computed from a
file that is found. A manifest that is lost or damaged is written again from shards that prove
themselves; of one that names a shard with another checksum, nothing is overwritten.
"""

import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from selfrepair.warehouse.errors import WarehouseError, one_clear_line
from selfrepair.warehouse.facts.plan import read_plan, require_plan
from selfrepair.warehouse.facts.shards import SHARD_NAME, intact_shard, shard_fingerprint
from selfrepair.warehouse.facts.tables import fact_tables
from selfrepair.warehouse.paths import TEMPORARY, Warehouse
from selfrepair.warehouse.sealed import (
    SEALED,
    DamagedError,
    is_intact,
    read_json,
    set_aside,
    write_json,
)

MEASURE_AGAIN = "the `selfrepair run` command that began the run measures it again"


def write_manifest(
    warehouse: Warehouse, table: str, run_id: str, fingerprint: str, shards: Iterable[Path]
) -> dict[str, Any]:
    """Names the shards that make up a table of a run, and removes other shards beside them.

    Raises WarehouseError where a shard is missing, damaged or of another spec, where the shards
    overlap or leave a gap in the sequences, and where the manifest that is there names another file
    for the same sequences.
    """
    paths = sorted(shards)
    with one_clear_line(f"write the manifest of {table} for {run_id}"):
        _no_gap(table, run_id, paths)
        entries = []
        for path in paths:
            if not is_intact(path, afresh=True) or shard_fingerprint(path) != fingerprint:
                raise WarehouseError(
                    f"{path} is missing, damaged or measured for another spec: {MEASURE_AGAIN}"
                )
            entries.append(
                {
                    "file": path.name,
                    "rows": pq.read_metadata(path).num_rows,
                    "bytes": path.stat().st_size,
                    "sha256": _checksum(path),
                }
            )
        manifest = {
            "table": table,
            "run_id": run_id,
            "spec_fingerprint": fingerprint,
            "dropped": False,
            "shards": entries,
        }
        _refuse_other(read_manifest(warehouse, table, run_id), manifest)
        write_json(_path(warehouse, table, run_id), manifest)
        _remove_shards(warehouse.facts(table, run_id), {path.name for path in paths})
    return manifest


def read_manifest(warehouse: Warehouse, table: str, run_id: str) -> dict[str, Any] | None:
    """The manifest of a run's table; None where there is none yet. Raises DamagedError."""
    heal = f"`selfrepair publish` writes it anew from the shards of {run_id}"
    return read_json(_path(warehouse, table, run_id), heal)


def complete_manifest(warehouse: Warehouse, table: str, run_id: str) -> dict[str, Any]:
    """The manifest of a table that is measured and still has its shards; else WarehouseError."""
    manifest = read_manifest(warehouse, table, run_id)
    if manifest is None:
        raise WarehouseError(
            f"{run_id} is not measured to the end ({table} has no manifest): run it first"
        )
    if manifest["dropped"]:
        raise WarehouseError(
            f"the shards of {run_id} were dropped after it was published: "
            "measure it again (--restart) to publish it again"
        )
    return manifest


def measured_tables(warehouse: Warehouse, run_id: str) -> list[str]:
    """The fact tables that a run consists of, as its plan says."""
    plan = require_plan(warehouse, run_id)
    return [table for table in fact_tables() if table in plan.tables]


def restore_manifests(warehouse: Warehouse, run_id: str) -> list[str]:
    """Writes lost and damaged manifests anew where all shards are there; a line for each.

    Raises WarehouseError where a shard is missing too.
    """
    plan, told = require_plan(warehouse, run_id), []
    for table in measured_tables(warehouse, run_id):
        path = _path(warehouse, table, run_id)
        try:
            if read_manifest(warehouse, table, run_id) is not None:
                continue
            what = "was gone"
        except DamagedError:
            what = "was damaged"
        wanted = plan.tables[table]
        found = [intact_shard(warehouse, table, run_id, *r, plan.fingerprint) for r in wanted]
        shards = [shard for shard in found if shard is not None]
        if len(shards) < len(wanted):
            raise WarehouseError(
                f"{run_id} is not measured to the end: of {table}, {len(wanted) - len(shards)} of "
                f"{len(wanted)} shards are missing or damaged: {MEASURE_AGAIN}"
            )
        if what == "was damaged":
            set_aside(path)
        write_manifest(warehouse, table, run_id, plan.fingerprint, shards)
        told.append(f"{path} {what}: it is written anew from the shards, whose checksums are right")
    return told


def shard_files(warehouse: Warehouse, table: str, run_id: str) -> list[Path]:
    """The Parquet files that a run's table consists of, in the order of their sequences."""
    manifest = complete_manifest(warehouse, table, run_id)
    folder = warehouse.facts(table, run_id)
    return [folder / shard["file"] for shard in manifest["shards"]]


def row_count(warehouse: Warehouse, table: str, run_id: str) -> int:
    """The number of rows of a run's table, as its manifest counts them."""
    return sum(shard["rows"] for shard in complete_manifest(warehouse, table, run_id)["shards"])


def verify_manifest(warehouse: Warehouse, table: str, run_id: str) -> dict[str, Any]:
    """Reads every shard and compares it with its checksum; DamagedError names a changed one."""
    manifest = complete_manifest(warehouse, table, run_id)
    plan = require_plan(warehouse, run_id)
    ranges = [range_of(shard["file"]) for shard in manifest["shards"]]
    if (manifest["spec_fingerprint"], ranges) != (plan.fingerprint, plan.tables.get(table)):
        raise WarehouseError(
            f"the manifest of {table} for {run_id} is not that of the run's plan: "
            "measure it again with --restart"
        )

    def verify(shard: dict[str, Any]) -> None:
        path = warehouse.facts(table, run_id) / shard["file"]
        if not path.is_file():
            raise DamagedError(f"{path} is gone: {MEASURE_AGAIN}")
        if _checksum(path) != shard["sha256"] or not is_intact(path, afresh=True):
            raise DamagedError(f"{path} is damaged, it is not what was measured: {MEASURE_AGAIN}")

    with ThreadPoolExecutor() as pool:
        for _ in pool.map(verify, manifest["shards"]):
            pass
    return manifest


def damaged_shards(warehouse: Warehouse, table: str, run_id: str) -> list[Path]:
    """The shards of a table, named by its manifest or not, whose bytes are not what was written."""
    folder = warehouse.facts(table, run_id)
    there = sorted(folder.iterdir()) if folder.is_dir() else []
    return [p for p in there if SHARD_NAME.fullmatch(p.name) and not is_intact(p, afresh=True)]


def set_damaged_aside(warehouse: Warehouse, run_id: str) -> list[Path]:
    """Sets a run's damaged shards and manifests aside, so that they are measured again.

    The manifest that names a damaged shard, or one that is gone, is withdrawn with it: the table is
    not complete. Returns what was set aside, by the names that it had. Only the run's holder may.
    """
    plan = read_plan(warehouse, run_id)
    gone: list[Path] = []
    for table in plan.tables if plan else []:
        bad = damaged_shards(warehouse, table, run_id)
        for path in bad:
            set_aside(path)
        path = _path(warehouse, table, run_id)
        try:
            manifest = read_manifest(warehouse, table, run_id)
        except DamagedError:
            set_aside(path)
            bad.append(path)
            manifest = None
        if manifest and not manifest["dropped"]:
            folder = warehouse.facts(table, run_id)
            if not all((folder / shard["file"]).is_file() for shard in manifest["shards"]):
                path.unlink()
        gone += bad
    return gone


def drop_shards(warehouse: Warehouse, table: str, run_id: str) -> None:
    """Removes a table's shards; the manifest stays and says so, before the first one goes."""
    manifest = complete_manifest(warehouse, table, run_id)
    with one_clear_line(f"drop the shards of {run_id}"):
        write_json(_path(warehouse, table, run_id), manifest | {"dropped": True})
        _remove_shards(warehouse.facts(table, run_id), set())


def withdraw_shards(warehouse: Warehouse, table: str, run_id: str, shards: Iterable[Path]) -> None:
    """Removes shards that are to be measured anew, the manifest that may name them first."""
    shards = list(shards)
    with one_clear_line(f"withdraw shards of {run_id}"):
        if shards:
            _path(warehouse, table, run_id).unlink(missing_ok=True)
        for path in shards:
            path.unlink(missing_ok=True)


def remove_facts(warehouse: Warehouse, table: str, run_id: str) -> None:
    """Removes a run's folder of one table, its manifest first."""
    with one_clear_line(f"remove the facts of {run_id}"):
        path = _path(warehouse, table, run_id)
        if not path.is_dir():
            path.unlink(missing_ok=True)
        shutil.rmtree(warehouse.facts(table, run_id), ignore_errors=False, onerror=_gone_is_fine)


def leftovers_of(warehouse: Warehouse, run_id: str) -> list[Path]:
    """What killed writers of a run left, and living ones are writing."""
    own = warehouse.run_folder(run_id)
    folders = [*(warehouse.facts(table, run_id) for table in fact_tables()), own, own / "z_sums"]
    there = [folder for folder in folders if folder.is_dir()]
    return [path for folder in there for path in folder.glob(f"*{TEMPORARY}*")]


def remove_leftovers(warehouse: Warehouse, run_id: str) -> None:
    """Removes what killed writers of a run left; only the run's holder may."""
    with one_clear_line(f"tidy up {run_id}"):
        for path in leftovers_of(warehouse, run_id):
            path.unlink(missing_ok=True)


def _refuse_other(there: dict[str, Any] | None, new: dict[str, Any]) -> None:
    """No entry of a manifest ever replaces another checksum of the same sequences."""
    if not there or there["dropped"] or there["spec_fingerprint"] != new["spec_fingerprint"]:
        return
    named = {range_of(shard["file"]): shard["sha256"] for shard in there["shards"]}
    for shard in new["shards"]:
        if named.get(range_of(shard["file"]), shard["sha256"]) != shard["sha256"]:
            raise WarehouseError(
                f"{shard['file']} of {new['table']} is not the file that the manifest names for "
                f"these sequences: set it aside with `selfrepair doctor --repair`, or measure "
                f"{new['run_id']} again with --restart"
            )


def _no_gap(table: str, run_id: str, paths: list[Path]) -> None:
    reached = 0
    for path in paths:
        name = SHARD_NAME.fullmatch(path.name)
        if not name or int(name[1]) != reached or int(name[2]) <= reached:
            raise WarehouseError(
                f"the shards of {table} for {run_id} do not follow each other: "
                f"sequence {reached} should begin where {path.name} is"
            )
        reached = int(name[2])


def range_of(file: str) -> tuple[int, int]:
    """The first sequence of a shard, and the one after its last, by its name."""
    name = SHARD_NAME.fullmatch(file)
    if not name:
        raise WarehouseError(f"{file} is not the name of a shard: {MEASURE_AGAIN}")
    return int(name[1]), int(name[2])


def _checksum(path: Path) -> str:
    """The checksum of a shard, from its name: that of the moment when it was written."""
    name = SEALED.fullmatch(path.name)
    return name["sha256"] if name else ""


def _remove_shards(folder: Path, keep: set[str]) -> None:
    """Removes shards that do not count; a damaged one is set aside, for whoever asks why."""
    for path in list(folder.iterdir()):
        if SHARD_NAME.fullmatch(path.name) and path.name not in keep:
            if is_intact(path):
                path.unlink(missing_ok=True)
            else:
                set_aside(path)


def _gone_is_fine(_function: Any, _path: str, info: Any) -> None:
    if not isinstance(info[1], FileNotFoundError):
        raise info[1]


def _path(warehouse: Warehouse, table: str, run_id: str) -> Path:
    return warehouse.facts(table, run_id) / "manifest.json"
