"""Publishing: turning a measured run into the next generation of the file that is served.

1. Verify the run's shards against their manifests.
2. Copy the served generation and take the run's old rows out of the copy. Where the tables or the
   stored results are defined otherwise than when it was made, make a new file instead, and carry
   over the other runs' facts by column name.
3. Put the run's facts in, sorted by head; compute its stored results; make views, macros, comments.
4. Check the file, and serve it (`generations.py`).

A failure anywhere leaves the generation that was served before.
"""

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import duckdb

from warehouse import build_generation as build
from warehouse import generations
from warehouse.connection import working_connection
from warehouse.errors import WarehouseError, one_clear_line
from warehouse.facts import fact_tables
from warehouse.generations import Progress
from warehouse.manifest import (
    drop_shards,
    measured_tables,
    remove_facts,
    row_count,
    verify_manifest,
)
from warehouse.paths import Warehouse
from warehouse.sql_files import Source, create_all, create_tables, published_definitions

FactsMode = Literal["native", "external"]


@dataclass(frozen=True)
class Generation:
    """What a publishing made: `rows` are those of the published run, per fact table."""

    number: int
    path: Path
    rows: dict[str, int]
    seconds: float


def publish(
    warehouse: Warehouse,
    run_row: Mapping[str, Any],
    facts: FactsMode = "native",
    keep_shards: bool = True,
    progress: Progress | None = None,
    source: Source | None = None,
) -> Generation:
    """Publishes a run that is measured to the end, in the place of what it published before.

    run_row: the columns of `runs`, by name.
    facts: "native" copies the facts into the file; "external" leaves all runs' facts in their
        shards, with views of the same names over them.
    keep_shards: False removes the run's shards once they are published; the run can then not be
        published again without being measured again.
    progress: called with the fraction done (0 to 1) and the step under way.

    Raises WarehouseError, and leaves the served generation as it was.
    """
    run_id = str(run_row["run_id"])
    if facts == "external" and not keep_shards:
        raise WarehouseError("external facts are the shards themselves: they cannot be dropped")
    progress = progress or _silent
    warehouse.prepare()
    progress(0.0, "verifying checksums")
    tables = measured_tables(warehouse, run_id)
    manifests = [verify_manifest(warehouse, table, run_id) for table in tables]
    if len({manifest["spec_fingerprint"] for manifest in manifests}) > 1:
        raise WarehouseError(
            f"the tables of {run_id} were measured for different specs: "
            "measure it again with --restart"
        )
    with one_clear_line(f"publish {run_id}"):
        made = _next_generation(warehouse, run_id, run_row, facts, progress, source)
        if not keep_shards:
            for table in tables:
                drop_shards(warehouse, table, run_id)
    progress(1.0, "published")
    return made


def delete(
    warehouse: Warehouse,
    run_id: str,
    progress: Progress | None = None,
    source: Source | None = None,
) -> Generation | None:
    """Publishes a generation without the run, then removes its facts and its run folder.

    A run that was never published has only files to remove; the result is None then. Killed in
    between, the same call does the rest. Raises WarehouseError for an unknown run.
    """
    progress = progress or _silent
    published = published_runs(warehouse)
    folders = [warehouse.facts(table, run_id) for table in fact_tables()]
    folders.append(warehouse.run_folder(run_id))
    if run_id not in published and not any(folder.exists() for folder in folders):
        known = ", ".join(published) or "nothing"
        raise WarehouseError(f"there is no run {run_id} in {warehouse.root}; published: {known}")
    warehouse.prepare()
    made = None
    with one_clear_line(f"delete {run_id}"):
        if run_id in published:
            made = _next_generation(warehouse, run_id, None, None, progress, source)
        for table in fact_tables():
            remove_facts(warehouse, table, run_id)
        if warehouse.run_folder(run_id).exists():
            shutil.rmtree(warehouse.run_folder(run_id))
    progress(1.0, "deleted")
    return made


def published_runs(warehouse: Warehouse) -> list[str]:
    """The run_ids in the served generation; none where nothing is published."""
    served = generations.current(warehouse)
    if served is None:
        return []
    with (
        one_clear_line(f"open {served}"),
        duckdb.connect() as connection,
        generations.attached(connection, served, "served"),
    ):
        rows = connection.execute("select run_id from served.runs order by run_id").fetchall()
    return [row[0] for row in rows]


def _next_generation(
    warehouse: Warehouse,
    run_id: str,
    run_row: Mapping[str, Any] | None,
    facts: FactsMode | None,
    progress: Progress,
    source: Source | None,
) -> Generation:
    """Builds and serves a generation in which `run_id` has the rows of its shards.

    Without a run_row it has none; with facts None they are stored as in the served generation.
    """
    began = time.monotonic()
    with generations.publishing(warehouse, progress) as number:
        building = generations.building(warehouse, number)
        try:
            _build(warehouse, building, number, run_id, run_row, facts, progress, source)
            progress(0.99, "serving the new generation")
            path = generations.serve(warehouse, building, number)
        finally:
            for leftover in (building, Path(f"{building}.wal")):
                leftover.unlink(missing_ok=True)
    measured = measured_tables(warehouse, run_id) if run_row else []
    rows = {table: row_count(warehouse, table, run_id) for table in measured}
    return Generation(number, path, rows, time.monotonic() - began)


def _build(
    warehouse: Warehouse,
    building: Path,
    number: int,
    run_id: str,
    run_row: Mapping[str, Any] | None,
    facts: FactsMode | None,
    progress: Progress,
    source: Source | None,
) -> None:
    """Builds the file `building`, closed and checked."""
    definitions = published_definitions(source)
    served = generations.current(warehouse)
    stored = build.stores(served) if served else None
    facts = facts or ("external" if stored and stored[0] == "external" else "native")
    if served and published_runs(warehouse) == [run_id]:
        served = None  # nothing of it stays
    copied = served is not None and stored == (facts, definitions)
    progress(0.0, "copying the last generation" if copied else "making a new file")
    if served and copied:
        generations.copy(served, building)
    else:
        generations.empty_file(building)

    with working_connection(warehouse, building) as connection:
        if copied:
            build.remove_views_and_macros(connection)
            build.remove_run(connection, run_id)
            create_tables(connection, source)
        else:
            create_tables(connection, source)
    if served and not copied:
        progress(0.05, "carrying over the other runs")
        build.carry_over(warehouse, building, served, run_id, facts)
    if run_row and facts == "native":
        build.insert_facts(
            warehouse, building, run_id, lambda done, step: progress(0.1 + 0.5 * done, step)
        )
    with working_connection(warehouse, building) as connection:
        if run_row:
            build.insert_row(connection, "runs", run_row)
        run_ids = build.run_ids_of(connection)
        if facts == "external":
            build.view_external_facts(connection, warehouse, run_ids)
        about = {
            "generation": number,
            "published_at": datetime.now(UTC),
            "facts": facts,
            "definitions": definitions,
        }
        connection.execute("delete from generation")
        build.insert_row(connection, "generation", about)
        create_all(connection, source)
    computed_for = run_ids if not copied else [run_id] if run_row else []
    build.fill_stored_results(
        warehouse,
        building,
        source,
        computed_for,
        lambda done, step: progress(0.6 + 0.37 * done, step),
    )
    progress(0.97, "reading what was written")
    inserted = measured_tables(warehouse, run_id) if run_row and facts == "native" else []
    rows = {table: row_count(warehouse, table, run_id) for table in inserted}
    build.check(building, run_ids, run_id, rows)


def _silent(_done: float, _step: str) -> None:
    """The progress callback of a caller who wants none."""
