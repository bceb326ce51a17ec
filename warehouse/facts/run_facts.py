"""All tables of one run together, as its plan names them: what is damaged, lost or left over."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from selfrepair.warehouse.errors import WarehouseError, one_clear_line
from selfrepair.warehouse.facts.plan import read_plan, require_plan
from selfrepair.warehouse.facts.run_table import RunTable
from selfrepair.warehouse.facts.shards import MEASURE_AGAIN
from selfrepair.warehouse.facts.tables import CLOSER_LOOKS, fact_tables
from selfrepair.warehouse.paths import TEMPORARY, Warehouse
from selfrepair.warehouse.sealed import DamagedError, set_aside


def measured_tables(warehouse: Warehouse, run_id: str, part: int | None = None) -> list[RunTable]:
    """The fact tables that a run, or a part of it, consists of, as its plan says.

    Of a part, a closer look is one of them only where it is there of all the part's sequences.
    """
    plan = require_plan(warehouse, run_id)
    planned = [found for found in all_tables(warehouse, run_id) if found.table in plan.tables]
    tables = [replace(found, part=part) for found in planned]
    if part is None:
        return tables
    return [t for t in tables if t.table not in CLOSER_LOOKS or _is_complete(t)]


def part_of(row: Mapping[str, Any]) -> int | None:
    """Of how many first sequences a run's row of `runs` is; None where it is of the whole run."""
    measured: int | None = row.get("n_sequences_measured")
    return None if measured in (None, row["n_sequences"]) else measured


def is_ended(row: Mapping[str, Any]) -> bool:
    """Whether a run's row of `runs` is of all that is to be measured: it is whole, or stopped."""
    return part_of(row) is None or row.get("stopped_by") is not None


def _is_complete(table: RunTable) -> bool:
    try:
        table.complete_manifest()
    except WarehouseError:
        return False
    return True


def all_tables(warehouse: Warehouse, run_id: str) -> list[RunTable]:
    """Every fact table, whether the run has it or not, started or not."""
    return [RunTable(warehouse, table, run_id) for table in fact_tables()]


def restore_manifests(warehouse: Warehouse, run_id: str) -> list[str]:
    """Writes lost and damaged manifests anew where all shards are there; a line for each.

    Raises WarehouseError where a shard is missing too.
    """
    plan, told = require_plan(warehouse, run_id), []
    for of_run in measured_tables(warehouse, run_id):
        path = of_run.manifest_path
        try:
            if of_run.manifest() is not None:
                continue
            what = "was gone"
        except DamagedError:
            what = "was damaged"
        wanted = plan.tables[of_run.table]
        found = [of_run.intact(*sequences, plan.fingerprint) for sequences in wanted]
        shards = [shard for shard in found if shard is not None]
        if len(shards) < len(wanted):
            raise WarehouseError(
                f"{run_id} is not measured to the end: of {of_run.table}, "
                f"{len(wanted) - len(shards)} of {len(wanted)} shards are missing or damaged: "
                f"{MEASURE_AGAIN}"
            )
        if what == "was damaged":
            set_aside(path)
        of_run.write_manifest(plan.fingerprint, shards)
        told.append(f"{path} {what}: it is written anew from the shards, whose checksums are right")
    return told


def set_damaged_aside(warehouse: Warehouse, run_id: str) -> list[Path]:
    """Sets a run's damaged shards and manifests aside, so that they are measured again.

    The manifest that names a damaged shard, or one that is gone, is withdrawn with it: the table is
    not complete. Returns what was set aside, by the names that it had. Only the run's holder may.
    """
    plan = read_plan(warehouse, run_id)
    gone: list[Path] = []
    for table in plan.tables if plan else []:
        of_run = RunTable(warehouse, table, run_id)
        bad = of_run.damaged()
        for path in bad:
            set_aside(path)
        try:
            if of_run.missing():
                of_run.manifest_path.unlink()
        except DamagedError:
            set_aside(of_run.manifest_path)
            bad.append(of_run.manifest_path)
        gone += bad
    return gone


def leftovers_of(warehouse: Warehouse, run_id: str) -> list[Path]:
    """What killed writers of a run left, and living ones are writing."""
    own = warehouse.run_folder(run_id)
    there = [folder for folder in (own, own / "z_sums") if folder.is_dir()]
    found = [path for table in all_tables(warehouse, run_id) for path in table.leftovers()]
    return found + [path for folder in there for path in folder.glob(f"*{TEMPORARY}*")]


def remove_leftovers(warehouse: Warehouse, run_id: str) -> None:
    """Removes what killed writers of a run left; only the run's holder may."""
    with one_clear_line(f"tidy up {run_id}"):
        for path in leftovers_of(warehouse, run_id):
            path.unlink(missing_ok=True)
