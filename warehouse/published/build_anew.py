"""Where the published file is lost or damaged: what of it can be had from elsewhere.

Each run that was published left its row of `runs` beside its plan (`plan.py`), so that its shards
are all that is needed. A run whose shards were dropped is read out of the damaged file, whose
blocks have checksums of their own: what cannot be read there is named, and must be measured again.
"""

import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from selfrepair.warehouse.connection import Progress, columns_of, insert_row, working_connection
from selfrepair.warehouse.errors import WarehouseError
from selfrepair.warehouse.facts.plan import Plan, all_plans, published_row
from selfrepair.warehouse.facts.run_facts import measured_tables, part_of, restore_manifests
from selfrepair.warehouse.facts.tables import fact_tables
from selfrepair.warehouse.paths import Warehouse, slug
from selfrepair.warehouse.published import build_generation as build
from selfrepair.warehouse.published.generations import Last, attached
from selfrepair.warehouse.published.sorted_facts import insert_facts
from selfrepair.warehouse.sealed import DamagedError, is_intact, set_aside

logger = logging.getLogger(__name__)


def published_rows(warehouse: Warehouse) -> dict[str, dict[str, Any]]:
    """The runs that were published, each with its row of `runs`, as their folders say."""
    found = {}
    for plan in all_plans(warehouse):
        if not isinstance(plan, Plan):  # it cannot be told whether that run was published
            logger.warning(str(plan))
        else:
            try:
                row = published_row(warehouse, plan.run_id)
            except DamagedError as error:
                logger.warning(str(error))
                continue
            if row is not None:
                found[plan.run_id] = row
    return found


@dataclass(frozen=True)
class Contents:
    """What the last generation says of itself: by which definitions it was made, and its runs.

    usable: it can be read, and nobody but a publisher is known to have changed it.
    is_whole: its bytes are those that were published.
    """

    definitions: str | None = None
    run_ids: list[str] = field(default_factory=list)
    usable: bool = False
    is_whole: bool = False


def look_into(last: Last | None) -> Contents:
    """Reads what a generation says of itself; nothing, where there is none or it is damaged.

    Raises WarehouseError where another program has it open for writing.
    """
    if last is None:
        return Contents()
    try:
        definitions, run_ids = build.definitions_of(last.path), runs_in(last.path)
    except duckdb.Error:
        return Contents()
    usable = last.state in ("whole", "unproven")
    return Contents(definitions, run_ids, usable, last.state == "whole")


def fill_anew(
    warehouse: Warehouse,
    building: Path,
    last: Last | None,
    without_run: str | None,
    progress: Progress,
) -> str:
    """Puts the other runs' rows into a file of empty tables, from their shards.

    last: the generation that is not copied; out of it come runs whose shards are gone.
    Returns the line that says so, empty where nothing was published before.
    """
    rows = published_rows(warehouse)
    is_gone = last is None or last.state == "older"
    there = last.path if last else None  # an older one may have runs that were deleted since
    others = sorted({*rows, *(_readable_runs(there) if not is_gone else [])} - {without_run})
    lost = []
    for n, run_id in enumerate(others):
        progress(0.05 + 0.05 * n / len(others), f"{run_id} from its shards")
        if run_id in rows and _has_its_shards(warehouse, rows[run_id]):
            part = part_of(rows[run_id])
            insert_facts(warehouse, building, run_id, part, lambda _done, _step: None)
            with working_connection(warehouse, building) as connection:
                columns = columns_of(connection, "runs")
                insert_row(connection, "runs", dict.fromkeys(columns) | rows[run_id])
        elif not _salvaged(warehouse, building, there, run_id):
            lost.append(run_id)
            for path in warehouse.outside.glob(f"*/run={slug(run_id)}/*.parquet"):
                set_aside(path)  # no generation will name it, and it may be all that is left
    if last is None and not others:
        return ""
    what = "was gone" if is_gone else "was damaged, or changed by another program"
    line = f"the published file {what}: it is built anew from the shards"
    if lost:
        line += (
            f"; without {', '.join(lost)}, whose shards are gone or damaged too: "
            "measure again with the `selfrepair run` command that began it"
        )
    return line


def _has_its_shards(warehouse: Warehouse, row: Mapping[str, Any]) -> bool:
    """Whether all is there that a run, or the part of it that was published, consisted of."""
    run_id = str(row["run_id"])
    try:
        with suppress(WarehouseError):
            restore_manifests(warehouse, run_id)
        for table in measured_tables(warehouse, run_id, part_of(row)):
            table.verify()
    except WarehouseError:
        return False
    return True


def runs_in(generation: Path) -> list[str]:
    """The runs of a generation, by name."""
    with duckdb.connect() as connection, attached(connection, generation, "served"):
        rows = connection.execute("select run_id from served.runs order by run_id").fetchall()
    return [row[0] for row in rows]


def _readable_runs(damaged: Path | None) -> list[str]:
    """The runs that a damaged file names, as far as it can be read."""
    try:
        return runs_in(damaged) if damaged else []
    except duckdb.Error:
        return []


def _salvaged(warehouse: Warehouse, building: Path, damaged: Path | None, run_id: str) -> bool:
    """Whether all rows of a run could be read out of a damaged file; else none is taken."""
    if damaged is None:
        return False
    if carried(warehouse, building, damaged, [run_id]):
        return True
    with working_connection(warehouse, building) as connection:
        for table in (*fact_tables(), "parquet_files", "runs"):
            connection.execute(f"delete from {table} where run_id = ?", [run_id])
    return False


def carried(warehouse: Warehouse, building: Path, served: Path, run_ids: list[str]) -> bool:
    """Whether all rows of some runs could be read out of another generation."""
    try:
        build.carry_over(warehouse, building, served, run_ids)
        with working_connection(warehouse, building) as connection:
            files = connection.execute(
                "select file from parquet_files where run_id = any(?)", [run_ids]
            ).fetchall()
    except duckdb.Error:
        return False
    return all(is_intact(warehouse.root / file) for (file,) in files)
