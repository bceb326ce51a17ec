"""What a run consists of: written once, when it is started, and held against what is there.

    runs/<slug>/run.json         fingerprint, and for each table the sequences of each shard
    runs/<slug>/published.json   the run's row of `runs`, as it was last published

A table that the plan names and that is not there is an error, never a table that was not wanted.
The published row is what lets the warehouse build its file anew from the shards alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from selfrepair.warehouse.errors import WarehouseError, one_clear_line
from selfrepair.warehouse.object_store import store_of
from selfrepair.warehouse.paths import Warehouse
from selfrepair.warehouse.sealed import DamagedError, read_json, write_json

Ranges = Sequence[tuple[int, int]]
"""Of each shard of a table the first sequence, and the one after its last."""

HEAL = "the `selfrepair run` command that began the run writes it anew and keeps its shards"
OLDER = (
    "was begun by an older version, whose shards carry no checksums of their own: what is "
    "published of it stays; measure it anew with `selfrepair run … --restart`"
)


@dataclass(frozen=True)
class Plan:
    """One run: its tables and shards, and what the measuring side keeps of it (`about`)."""

    run_id: str
    fingerprint: str
    tables: dict[str, list[tuple[int, int]]]
    about: dict[str, Any] = field(default_factory=dict)

    def ranges(self, table: str, part: int | None = None) -> list[tuple[int, int]]:
        """The shards of a table; of a part of the run, those within its first sequences."""
        ranges = self.tables.get(table, [])
        return [(start, stop) for start, stop in ranges if part is None or stop <= part]


def plan_path(warehouse: Warehouse, run_id: str) -> Path:
    return warehouse.run_folder(run_id) / "run.json"


def write_plan(
    warehouse: Warehouse,
    run_id: str,
    fingerprint: str,
    tables: Mapping[str, Ranges],
    about: Mapping[str, Any] | None = None,
) -> None:
    """Fixes what a run consists of."""
    ranges = {table: [list(pair) for pair in pairs] for table, pairs in tables.items()}
    content = {"run_id": run_id, "fingerprint": fingerprint, "tables": ranges}
    with one_clear_line(f"start {run_id}"):
        write_json(plan_path(warehouse, run_id), content | {"about": dict(about or {})})
    store_of(warehouse).put(plan_path(warehouse, run_id))


def read_plan(warehouse: Warehouse, run_id: str) -> Plan | None:
    """The plan of a run; None where it was not started.

    Raises DamagedError where the file is not what was written, WarehouseError for a run of an older
    version.
    """
    path = plan_path(warehouse, run_id)
    if not path.exists():
        store_of(warehouse).get(path.parent, path.stem, path.suffix)
    return _read(path, run_id)


def require_plan(warehouse: Warehouse, run_id: str) -> Plan:
    """The plan of a run that was started; else WarehouseError."""
    plan = read_plan(warehouse, run_id)
    if plan is None:
        raise WarehouseError(
            f"{run_id} is not measured in {warehouse.root}: run `selfrepair run` first"
        )
    return plan


def all_plans(warehouse: Warehouse) -> Iterator[Plan | WarehouseError]:
    """Every run that was started, by name; the error that says why, where one cannot be read."""
    folder = warehouse.root / "runs"
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if not path.is_dir():
            continue
        try:
            plan = _read(path / "run.json", path.name)
        except WarehouseError as error:
            yield error
            continue
        if plan is not None:
            yield plan
        elif any(path.iterdir()):
            yield DamagedError(f"{path / 'run.json'} is gone: {HEAL}")


def _read(path: Path, name: str) -> Plan | None:
    content = read_json(path, HEAL)
    if content is None:
        if (path.parent / "spec.json").is_file():
            raise WarehouseError(f"{name} {OLDER}")
        return None
    tables = {
        table: [(start, stop) for start, stop in pairs]
        for table, pairs in content["tables"].items()
    }
    return Plan(content["run_id"], content["fingerprint"], tables, content["about"])


def keep_published_row(warehouse: Warehouse, row: Mapping[str, Any]) -> None:
    """Keeps the run's row of `runs` beside its plan, for a file that must be built anew."""
    values = {n: v.isoformat() if isinstance(v, datetime) else v for n, v in row.items()}
    path = warehouse.run_folder(str(row["run_id"])) / "published.json"
    with one_clear_line(f"write {path}"):
        write_json(path, {"row": values})


def published_row(warehouse: Warehouse, run_id: str) -> dict[str, Any] | None:
    """The run's row of `runs` as it was last published; None where it never was.

    Raises DamagedError.
    """
    heal = "publish the run again, which writes it anew"
    content = read_json(warehouse.run_folder(run_id) / "published.json", heal)
    return None if content is None else dict(content["row"])
