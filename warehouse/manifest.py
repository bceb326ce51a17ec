"""Which shards of a run count: the manifest of a table.

    {"table": ..., "run_id": ..., "spec_fingerprint": ..., "dropped": false,
     "shards": [{"file": ..., "rows": ..., "bytes": ..., "sha256": ...}]}

It is written, atomically, when all shards of a table are there. Readers take the files that it
names; nobody looks through a folder that is still being written. `dropped` says that the shards
were removed after publishing (`keep_shards=False`), so that the run can only be measured again.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from warehouse.errors import WarehouseError, one_clear_line
from warehouse.facts import NEEDED, SHARD_NAME, fact_tables, shard_fingerprint
from warehouse.paths import TEMPORARY, Warehouse, written_whole


def write_manifest(
    warehouse: Warehouse, table: str, run_id: str, fingerprint: str, shards: Iterable[Path]
) -> dict[str, Any]:
    """Names the shards that make up a table of a run, and removes what is left over beside them.

    Raises WarehouseError where a shard is missing or of another spec, or where the shards overlap
    or leave a gap in the sequences.
    """
    paths = sorted(shards)
    with one_clear_line(f"write the manifest of {table} for {run_id}"):
        _no_gap(table, run_id, paths)
        entries = []
        for path in paths:
            if shard_fingerprint(path) != fingerprint:
                raise WarehouseError(
                    f"{path} is missing, damaged or measured for another spec: "
                    f"measure {run_id} again with --restart"
                )
            entries.append(
                {
                    "file": path.name,
                    "rows": pq.read_metadata(path).num_rows,
                    "bytes": path.stat().st_size,
                    "sha256": sha256(path),
                }
            )
        manifest = {
            "table": table,
            "run_id": run_id,
            "spec_fingerprint": fingerprint,
            "dropped": False,
            "shards": entries,
        }
        _write(warehouse, manifest)
        _remove_leftovers(warehouse.facts(table, run_id), {path.name for path in paths})
    return manifest


def read_manifest(warehouse: Warehouse, table: str, run_id: str) -> dict[str, Any] | None:
    """The manifest of a run's table; None where there is none yet."""
    path = _path(warehouse, table, run_id)
    with one_clear_line(f"read {path}"):
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
    try:
        manifest: dict[str, Any] = json.loads(text)
    except ValueError as error:
        raise WarehouseError(f"{path} is damaged: measure {run_id} again") from error
    return manifest


def complete_manifest(warehouse: Warehouse, table: str, run_id: str) -> dict[str, Any]:
    """The manifest of a table that is measured and still has its shards; else WarehouseError."""
    manifest = read_manifest(warehouse, table, run_id)
    if manifest is None:
        raise WarehouseError(
            f"{run_id} is not measured to the end ({table} has no manifest): run it first"
        )
    if manifest.get("dropped"):
        raise WarehouseError(
            f"the shards of {run_id} were dropped after it was published: "
            "measure it again (--restart) to publish it again"
        )
    return manifest


def measured_tables(warehouse: Warehouse, run_id: str) -> list[str]:
    """The fact tables that a run has: those that every run needs, and the details it measured."""
    return [
        table
        for table in fact_tables()
        if table in NEEDED or read_manifest(warehouse, table, run_id) is not None
    ]


def shard_files(warehouse: Warehouse, table: str, run_id: str) -> list[Path]:
    """The Parquet files that a run's table consists of, in the order of their sequences."""
    manifest = complete_manifest(warehouse, table, run_id)
    folder = warehouse.facts(table, run_id)
    return [folder / shard["file"] for shard in manifest["shards"]]


def row_count(warehouse: Warehouse, table: str, run_id: str) -> int:
    """The number of rows of a run's table, as its manifest counts them."""
    return sum(shard["rows"] for shard in complete_manifest(warehouse, table, run_id)["shards"])


def verify_manifest(warehouse: Warehouse, table: str, run_id: str) -> dict[str, Any]:
    """Reads every shard and compares its size and checksum; WarehouseError names a changed one."""
    manifest = complete_manifest(warehouse, table, run_id)

    def verify(shard: dict[str, Any]) -> None:
        path = warehouse.facts(table, run_id) / shard["file"]
        with one_clear_line(f"read {path}"):
            if not path.is_file():
                raise WarehouseError(f"{path} is gone: measure {run_id} again")
            if path.stat().st_size != shard["bytes"] or sha256(path) != shard["sha256"]:
                raise WarehouseError(
                    f"{path} is not what was measured (its checksum differs): "
                    f"delete it and measure {run_id} again"
                )

    with ThreadPoolExecutor() as pool:
        for _ in pool.map(verify, manifest["shards"]):
            pass
    return manifest


def drop_shards(warehouse: Warehouse, table: str, run_id: str) -> None:
    """Removes a table's shards; the manifest stays and says so, before the first one goes."""
    manifest = complete_manifest(warehouse, table, run_id)
    with one_clear_line(f"drop the shards of {run_id}"):
        _write(warehouse, manifest | {"dropped": True})
        _remove_leftovers(warehouse.facts(table, run_id), set())


def remove_facts(warehouse: Warehouse, table: str, run_id: str) -> None:
    """Removes a run's folder of one table, its manifest first."""
    with one_clear_line(f"remove the facts of {run_id}"):
        _path(warehouse, table, run_id).unlink(missing_ok=True)
        shutil.rmtree(warehouse.facts(table, run_id), ignore_errors=False, onerror=_gone_is_fine)


def sha256(path: Path) -> str:
    """Hex digest of a file, read piece by piece."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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


def _remove_leftovers(folder: Path, keep: set[str]) -> None:
    for path in folder.iterdir():
        shard = SHARD_NAME.fullmatch(path.name) and path.name not in keep
        if shard or TEMPORARY in path.name:
            path.unlink(missing_ok=True)


def _gone_is_fine(_function: Any, _path: str, info: Any) -> None:
    if not isinstance(info[1], FileNotFoundError):
        raise info[1]


def _path(warehouse: Warehouse, table: str, run_id: str) -> Path:
    return warehouse.facts(table, run_id) / "manifest.json"


def _write(warehouse: Warehouse, manifest: dict[str, Any]) -> None:
    path = _path(warehouse, manifest["table"], manifest["run_id"])
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
