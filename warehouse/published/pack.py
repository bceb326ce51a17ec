"""`selfrepair pack`: one published run as one DuckDB file, the rows that lie outside in it too."""

import os
from datetime import UTC, datetime
from pathlib import Path

from selfrepair.warehouse.connection import Progress, insert_row, working_connection
from selfrepair.warehouse.errors import WarehouseError, one_clear_line
from selfrepair.warehouse.facts.tables import fact_tables
from selfrepair.warehouse.paths import Warehouse, written_whole
from selfrepair.warehouse.published import build_generation as build
from selfrepair.warehouse.published import generations
from selfrepair.warehouse.published.read import open_serving
from selfrepair.warehouse.published.runs import refuse_unpublished
from selfrepair.warehouse.published.sorted_facts import writing
from selfrepair.warehouse.sql_created import comment_all, create_all
from selfrepair.warehouse.sql_files import published_definitions, relations
from selfrepair.warehouse.sql_parsing import literal


def pack(warehouse: Warehouse, run_id: str, output: Path, progress: Progress) -> None:
    """Writes a run, as it is published, into the new file `output`, whole or not at all.

    Facts and stored results are copied, not computed again: the shards are not needed.

    progress: called with the fraction done (0 to 1) and the step under way.

    Raises WarehouseError where the run is not published, or was by another version of the project,
    and where `output` is there already.
    """
    refuse_unpublished(warehouse, run_id)
    output = output.absolute()
    if os.path.lexists(output):
        raise WarehouseError(f"{output} is there already: name a file that is not")
    if not output.parent.is_dir():  # what the user named is made, and no more
        raise WarehouseError(f"there is no folder {output.parent}: make it first")
    with one_clear_line(f"write {output}"), open_serving(warehouse) as reader:
        row = reader.execute("select generation, definitions from generation").fetchone()
        served = warehouse.generation(row[0]) if row else Path()
        if not row or row[1] != published_definitions():
            raise WarehouseError(
                f"{run_id} was published by another version: `selfrepair publish` first"
            )
        with written_whole(output) as made:
            build.empty_file(made)
            with working_connection(warehouse, made) as connection:
                create_all(connection, comments=False)
                about = ("generation", "published_at", "definitions")
                values = (row[0], datetime.now(UTC), row[1])
                insert_row(connection, "generation", dict(zip(about, values, strict=True)))
            stored = [found.name for found in relations() if found.kind == "stored"]
            tables = ["runs", *fact_tables(), *stored]
            for n, table in enumerate(tables):
                progress(0.95 * n / len(tables), f"copying {table}")
                with (
                    writing(warehouse, made, table) as connection,
                    generations.attached(connection, served, "served"),
                ):
                    connection.execute(
                        f"insert into {table} by name from served.{table}"
                        f" where run_id = {literal(run_id)}"
                    )
            with working_connection(warehouse, made) as connection:
                comment_all(connection)
            progress(0.97, "reading what was written")
            build.check(warehouse, made, [run_id], run_id, {})
    progress(1.0, "packed")
