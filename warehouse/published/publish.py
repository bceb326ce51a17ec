"""Publishing: turning a measured run into the next generation of the file that is served.

1. Verify the run's shards against their checksums; write lost manifests anew.
2. Copy the served generation and take the run's old rows out of the copy. Where the tables or the
   stored results are defined otherwise than when it was made, make a new file instead, and carry
   over the other runs' facts by column name. Where it is lost or damaged, take them from the runs'
   shards (`build_anew.py`).
3. Put the run's facts in, sorted by head; compute its stored results; make views, macros, comments.
4. Check the file, and serve it (`generations.py`).

A failure anywhere leaves the generation that was served before.
"""

import logging
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from selfrepair.warehouse.connection import Progress, insert_row, working_connection
from selfrepair.warehouse.errors import WarehouseError, one_clear_line
from selfrepair.warehouse.facts.plan import keep_published_row
from selfrepair.warehouse.facts.run_facts import (
    all_tables,
    measured_tables,
    part_of,
    restore_manifests,
)
from selfrepair.warehouse.locks import held, run_held
from selfrepair.warehouse.object_store import store_of
from selfrepair.warehouse.paths import Warehouse, copy, slug
from selfrepair.warehouse.published import build_generation as build
from selfrepair.warehouse.published import generations, outside
from selfrepair.warehouse.published.build_anew import carried, fill_anew, look_into
from selfrepair.warehouse.published.generations import Last
from selfrepair.warehouse.published.runs import known_runs, refuse_unknown
from selfrepair.warehouse.published.sorted_facts import insert_facts
from selfrepair.warehouse.sealed import DAMAGED, set_aside
from selfrepair.warehouse.sql_created import comment_all, create_all, create_tables
from selfrepair.warehouse.sql_files import Source, published_definitions

logger = logging.getLogger(__name__)


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
    keep_shards: bool = True,
    progress: Progress | None = None,
    source: Source | None = None,
    *,
    one_file: bool = False,
) -> Generation:
    """Publishes a run that is measured to the end, in the place of what it published before.

    Or the part of one that `run_row` is of (n_sequences_measured); the rest takes its place later.

    run_row: the columns of `runs`, by name.
    keep_shards: False removes the run's shards once they are published; the run can then not be
        published again without being measured again.
    progress: called with the fraction done (0 to 1) and the step under way.
    one_file: all rows of the run go into the published file, however large it is (`outside.py`).

    Raises WarehouseError, and leaves the served generation as it was; DamagedError where a shard is
    not what was measured.
    """
    run_id, part = str(run_row["run_id"]), part_of(run_row)
    if part is not None and not keep_shards:
        raise WarehouseError(
            f"{run_id} is not measured to the end: its shards are needed, and not dropped"
        )
    progress = progress or _silent
    warehouse.prepare()
    progress(0.0, "verifying checksums")
    for line in restore_manifests(warehouse, run_id) if part is None else []:
        logger.warning(line)
    tables = measured_tables(warehouse, run_id, part)
    for table in tables:
        table.verify()
    with one_clear_line(f"publish {run_id}"):
        rows = {table.table: table.row_count() for table in tables}
        change = _Change(run_id, run_row, source, one_file, rows)
        made = _next_generation(warehouse, change, progress)
        keep_published_row(warehouse, run_row)
        if not keep_shards:
            for table in tables:
                table.drop()
    progress(1.0, "published")
    return made


def publish_anew(
    warehouse: Warehouse, progress: Progress | None = None, source: Source | None = None
) -> Generation:
    """Publishes what was published before, no run more or less, where that file is damaged."""
    progress = progress or _silent
    warehouse.prepare()
    with one_clear_line("build the published file anew"):
        made = _next_generation(warehouse, _Change(source=source), progress)
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
    refuse_unknown(warehouse, run_id)
    warehouse.prepare()
    made = None
    with one_clear_line(f"delete {run_id}"), run_held(warehouse, run_id):
        if run_id in known_runs(warehouse):
            change = _Change(run_id, source=source)
            made = _next_generation(warehouse, change, progress)
        for table in all_tables(warehouse, run_id):
            table.remove()
        store_of(warehouse).remove_folder(warehouse.run_folder(run_id))
        if warehouse.run_folder(run_id).exists():
            shutil.rmtree(warehouse.run_folder(run_id))
        warehouse.run_lock(run_id).unlink(missing_ok=True)
        _remove_outside(warehouse, run_id)
    progress(1.0, "deleted")
    return made


def _remove_outside(warehouse: Warehouse, run_id: str) -> None:
    """Removes what is left of a deleted run beside the published file, or says that it is read."""
    own = f"*/run={slug(run_id)}/*"
    for path in warehouse.outside.glob(own):
        if DAMAGED in path.name:
            outside.remove(path)
    if any(warehouse.outside.glob(own)):
        with held(warehouse.lock, "another publisher is at work ({holder})", waiting=lambda: None):
            generations.remove_old(warehouse, 1)
    if left := list(warehouse.outside.glob(own)):
        logger.warning(
            f"{len(left)} file(s) of {run_id} stay in {warehouse.outside}: an older generation "
            "names them, which somebody reads, or which is set aside as damaged; a publishing "
            "removes them when neither is so"
        )


@dataclass(frozen=True)
class _Change:
    """How the next generation differs from the last one: in the rows of one run, or of none.

    Without a run_row the run has no rows. rows: of each table, how many its shards have.
    """

    run_id: str | None = None
    run_row: Mapping[str, Any] | None = None
    source: Source | None = None
    one_file: bool = False
    rows: Mapping[str, int] = field(default_factory=dict)

    @property
    def part(self) -> int | None:
        return part_of(self.run_row) if self.run_row else None


def _next_generation(warehouse: Warehouse, change: _Change, progress: Progress) -> Generation:
    """Builds and serves a generation in which the run has the rows of its shards."""
    began = time.monotonic()
    with generations.publishing(warehouse, progress) as (number, last):
        building = generations.building(warehouse, number)
        try:
            why_anew = _build(warehouse, building, number, last, change, progress)
            progress(0.99, "serving the new generation")
            deleting = change.run_id and not change.run_row and not why_anew
            kept = 1 if deleting else generations.KEPT
            files = build.files_outside(building)
            path = generations.serve(warehouse, building, number, files, kept)
        finally:
            for leftover in (building, Path(f"{building}.wal")):
                leftover.unlink(missing_ok=True)
        if why_anew and last and last.state != "older" and last.path.exists():
            why_anew += f" (the old one is kept: {set_aside(last.path)})"
    if why_anew:
        logger.warning(why_anew)
    return Generation(number, path, dict(change.rows), time.monotonic() - began)


def _build(
    warehouse: Warehouse,
    building: Path,
    number: int,
    last: Last | None,
    change: _Change,
    progress: Progress,
) -> str:
    """Builds the file `building`, closed and checked; says why, where not from the last one."""
    run_id, source = change.run_id, change.source
    definitions = published_definitions(source)
    old = look_into(last)
    named = generations.outside_of(last.path) if last and old.run_ids != [run_id] else []
    outside.refuse_others(warehouse, named)
    copied = old.is_whole and old.run_ids != [run_id] and old.definitions == definitions
    why_anew = ""
    if copied and last:
        progress(0.0, "copying the last generation")
        copy(last.path, building)
        with working_connection(warehouse, building) as connection:
            build.remove_views_and_macros(connection)
            outside.take_names_back(connection)
            if run_id:
                build.remove_run(connection, run_id)
            create_tables(connection, source)
    else:
        progress(0.0, "making a new file")
        _empty(warehouse, building, source)
        progress(0.05, "the other runs")
        others = [known for known in old.run_ids if known != run_id]
        if not (old.usable and last and carried(warehouse, building, last.path, others)):
            _empty(warehouse, building, source)
            why_anew = fill_anew(warehouse, building, last, run_id, progress)
    if change.run_row and run_id:
        insert_facts(
            warehouse,
            building,
            run_id,
            change.part,
            lambda done, step: progress(0.1 + 0.5 * done, step),
            one_file=change.one_file,
        )
    with working_connection(warehouse, building) as connection:
        if change.run_row:
            insert_row(connection, "runs", change.run_row)
        run_ids = build.run_ids_of(connection)
        about = {
            "generation": number,
            "published_at": datetime.now(UTC),
            "definitions": definitions,
        }
        connection.execute("delete from generation")
        insert_row(connection, "generation", about)
        # Of the new run alone: to bind a view opens a file of every run that is shown.
        outside.show_all_outside(connection, run_id if copied else None)
        create_all(connection, source, comments=False)
    here = [run_id] if run_id and change.run_row else []
    build.fill_stored_results(
        warehouse,
        building,
        source,
        here if copied else run_ids,
        lambda done, step: progress(0.6 + 0.37 * done, step),
    )
    with working_connection(warehouse, building) as connection:
        comment_all(connection, source)
    progress(0.97, "reading what was written")
    build.check(warehouse, building, run_ids, run_id or "", change.rows)
    return why_anew


def _empty(warehouse: Warehouse, building: Path, source: Source | None) -> None:
    """A new file with all tables, and nothing in them."""
    building.unlink(missing_ok=True)
    build.empty_file(building)
    with working_connection(warehouse, building) as connection:
        create_tables(connection, source)


def _silent(_done: float, _step: str) -> None:
    """The progress callback of a caller who wants none."""
