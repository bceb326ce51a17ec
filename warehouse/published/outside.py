"""The rows of large runs: Parquet files beside the published file, which shows them as its own.

    published/head_ablations/run=gpt2/resample-5-0-3.<sha256>.parquet    heads 0 to 3 of layer 5

Publishing another run then neither reads nor copies them. A file is written once, sorted by head,
and is removed when no generation that is there names it (`generations.py`). The table
`parquet_files` lists them; a table that has rows there is called `<table>_inside`, and a view of
its own name shows both. Paths are from the warehouse's folder, which DuckDB finds by
`file_search_path`: the warehouse can be moved, and no view tells where on the machine it lies.
"""

import re
from collections.abc import Collection, Iterable
from contextlib import suppress
from itertools import groupby
from pathlib import Path

from selfrepair.warehouse.connection import (
    ROW_GROUP_ROWS,
    SMALL_ROW_GROUP_ROWS,
    Connection,
    columns_of,
    insert_row,
)
from selfrepair.warehouse.errors import WarehouseError
from selfrepair.warehouse.facts.run_table import RunTable
from selfrepair.warehouse.facts.shards import SORTED_BY
from selfrepair.warehouse.paths import Warehouse, temporary_beside
from selfrepair.warehouse.sealed import DamagedError, sha256
from selfrepair.warehouse.sql_parsing import literal

RUN_INSIDE_AT_MOST = 2**26
"""Bytes of a run's shards: one that has more lies outside. The demo has 40 MB."""
TABLE_INSIDE_AT_MOST = 2**21
"""Bytes of Parquet: a table that takes less of a run that lies outside is in the file even so."""

INSIDE = "_inside"
WRITTEN_AS = "format parquet, parquet_version v2, compression zstd"


def lies_outside(warehouse: Warehouse, tables: Iterable[RunTable]) -> bool:
    """Whether a run, or the part of it that these tables are of, is too large for the file.

    In a folder with a comma in its name nothing is: DuckDB takes it for the end of a search path.
    """
    size = sum(n_bytes(of_run) for of_run in tables)
    return size > RUN_INSIDE_AT_MOST and "," not in str(warehouse.root)


def n_bytes(of_run: RunTable) -> int:
    """The size of a table's shards, also of those that were dropped; 0 where nothing tells it."""
    try:
        manifest = of_run.manifest() if of_run.part is None else of_run.complete_manifest()
    except DamagedError:  # of another run, whose rows are taken from elsewhere
        return 0
    return sum(shard["bytes"] for shard in manifest["shards"]) if manifest else 0


def write(
    connection: Connection,
    warehouse: Warehouse,
    run_id: str,
    table: str,
    stem: str,
    query: str,
    row_group_rows: int = ROW_GROUP_ROWS,
    at_least: int = 0,
) -> dict[str, str | int] | None:
    """Writes the rows of a query into one file, in their order; its row of `parquet_files`.

    stem: how its name begins; what a name cannot have is left out of it.
    at_least: bytes; where there are fewer, no file is written, and None returned.
    """
    stem = re.sub(r"[^A-Za-z0-9_-]+", "_", stem)
    folder = warehouse.published(table, run_id)
    folder.mkdir(parents=True, exist_ok=True)
    with temporary_beside(folder / f"{stem}.parquet") as (temporary, put):
        count = connection.execute(
            f"copy ({query}) to {literal(temporary)}"
            f" ({WRITTEN_AS}, row_group_size {row_group_rows})"
        ).fetchone()
        size = temporary.stat().st_size
        if size < at_least:
            remove(temporary)
            return None
        final = folder / f"{stem}.{sha256(temporary)}.parquet"
        put(final)
    return {
        "run_id": run_id,
        "table_name": table,
        "file": final.relative_to(warehouse.root).as_posix(),
        "n_rows": count[0] if count else 0,
        "n_bytes": size,
    }


def remove(path: Path) -> None:
    """Removes a file, and the folders of its run and its table where they are empty then."""
    path.unlink(missing_ok=True)
    for folder in (path.parent, path.parent.parent):
        with suppress(OSError):
            folder.rmdir()


def show_outside(connection: Connection, table: str, only: str | None = None) -> None:
    """Lets a table, where rows of it lie outside, show these beside its own.

    Its columns are those of the definition; a file that was written when it had fewer has null.

    only: the run whose files are shown; None: all. A query opens a file of every run that it might
        be about, each time that it is asked.
    """
    files = connection.execute(
        "select run_id, file from parquet_files where table_name = $table"
        " and run_id = coalesce($only, run_id) order by rowid",
        {"table": table, "only": only},
    ).fetchall()
    inside = table + INSIDE
    is_apart = inside in tables_of(connection)
    if not files and not is_apart:
        return
    if not is_apart:
        connection.execute(f"alter table {table} rename to {inside}")
        connection.execute(
            f"comment on table {inside} is 'The rows that lie in this file; {table} has all.'"
        )
    described = connection.execute(f"describe {inside}").fetchall()
    columns = ", ".join(f"cast({row[0]} as {row[1]}) as {row[0]}" for row in described)
    selects = [f"from {inside}"]
    for run_id, of_run in groupby(files, lambda row: row[0]):
        names = ", ".join(literal(file) for _, file in of_run)
        rows = f"read_parquet([{names}], hive_partitioning = false)"
        selects.append(f"select {literal(run_id)} as run_id, * from {rows}")
    query = " union all by name ".join(selects)
    connection.execute(f"create or replace view {table} as select {columns} from ({query})")


def refuse_others(warehouse: Warehouse, files: Collection[Path]) -> None:
    """Raises WarehouseError where DuckDB would not find these files outside, or find others.

    It looks for them from the current folder first, and in the warehouse's after that.
    """
    if files and "," in str(warehouse.root):
        raise WarehouseError(
            f"the rows of large runs cannot be found in {warehouse.root}: DuckDB takes a comma for "
            "the end of a folder's name; move the warehouse to a folder without one"
        )
    for file in files if Path(warehouse.outside.name).exists() else ():
        here = Path(file.relative_to(warehouse.root))
        if here.exists() and not (file.exists() and here.samefile(file)):
            raise WarehouseError(
                f"the current folder has a {here} of its own, which DuckDB would read in the place "
                f"of the one in {warehouse.root}: go to another folder"
            )


def show_all_outside(connection: Connection, only: str | None = None) -> None:
    """Lets all tables show the rows that lie outside: those of one run, or of all."""
    for (table,) in connection.execute("select distinct table_name from parquet_files").fetchall():
        show_outside(connection, table, only)


def write_list_anew(connection: Connection) -> None:
    """Writes `parquet_files` in one piece: each row by itself had blocks of its own in the file."""
    connection.execute("create temp table listed as from parquet_files order by rowid")
    connection.execute("delete from parquet_files")
    connection.execute("checkpoint")
    connection.execute("insert into parquet_files from listed")


def take_names_back(connection: Connection) -> None:
    """Gives the tables their own names again, once their views are gone."""
    for inside in tables_of(connection):
        if inside.endswith(INSIDE):
            connection.execute(f"alter table {inside} rename to {inside.removesuffix(INSIDE)}")


def table_inside(connection: Connection, table: str) -> str:
    """The name of the table itself, which a view of its name may hide."""
    return table + INSIDE if table + INSIDE in tables_of(connection) else table


def put_apart(
    connection: Connection, warehouse: Warehouse, run_id: str, table: str, rows: str
) -> None:
    """Puts a run's rows of a table outside, or inside where they are few.

    rows: the name of a temporary table with the table's columns.
    """
    keys = [name for name in SORTED_BY if name in columns_of(connection, rows)]
    order = f" order by {', '.join(keys)}" if keys else ""
    query = f"select * exclude run_id from {rows}{order}"
    size, least = SMALL_ROW_GROUP_ROWS, TABLE_INSIDE_AT_MOST + 1
    file = write(connection, warehouse, run_id, table, "rows", query, size, least)
    if file is None:
        connection.execute(f"insert into {table_inside(connection, table)} by name from {rows}")
    else:
        insert_row(connection, "parquet_files", file)
        show_outside(connection, table, run_id)


def tables_of(connection: Connection) -> list[str]:
    """The tables of the connection's own file, by name."""
    found = connection.execute(
        "select table_name from duckdb_tables()"
        " where database_name = current_database() order by all"
    )
    return [row[0] for row in found.fetchall()]
