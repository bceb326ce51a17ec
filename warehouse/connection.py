"""DuckDB connections for heavy work: bounded memory, spilling into the warehouse's own folder."""

import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import duckdb

from selfrepair.warehouse.errors import WarehouseError
from selfrepair.warehouse.locks import HeldElsewhereError, held, is_held
from selfrepair.warehouse.paths import Warehouse
from selfrepair.warehouse.sql_parsing import literal

Connection = duckdb.DuckDBPyConnection
Config = dict[str, str | bool | int | float | list[str]]
"""DuckDB's settings, by name."""
Progress = Callable[[float, str], None]
"""Is called with the fraction done of some work (0 to 1), and the step under way."""

MEMORY_AT_MOST = 2**29  # bytes; inserting 143 M rows took 5 % longer in it than in four times that
ROW_GROUP_ROWS = 122_880  # DuckDB's own number; each group takes memory for what is known of it
SMALL_ROW_GROUP_ROWS = 12_288  # for long rows, and where a head's rows are to be shared by cores

# The last bits of a measured float are noise: trying how to compress them takes a fifth of the time
# of inserting head_ablations, for 3 % of its part of the file.
NOT_FOR_MEASUREMENTS = "alp,alprd,chimp,patas"

# It aggregates below a join what is grouped above it: where rows are joined to the clusters of
# their positions, one group for each position, and half a gigabyte for a million of them.
NOT_FOR_MANY_ROWS = "partial_aggregate_pushdown"


@contextmanager
def working_connection(
    warehouse: Warehouse,
    database: Path | None = None,
    memory_limit: str | None = None,
    row_group_rows: int = ROW_GROUP_ROWS,
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to `database` (default: in memory) that spills instead of growing.

    memory_limit: as DuckDB takes it ("2GB"); default half of what DuckDB would take (which knows
        of a container's limit), at most MEMORY_AT_MOST.
    row_group_rows: how many rows are written at a time, and are in memory meanwhile.
    """
    with spill_folder(warehouse) as spill, duckdb.connect() as connection:
        limit = memory_limit or memory_limits()[0]
        connection.execute(f"set memory_limit = '{limit}'")
        # Blocks of the file are kept for the next ones, instead of given back and asked for again.
        connection.execute(f"set block_allocator_memory = '{limit}'")
        connection.execute(f"set temp_directory = {literal(spill)}")
        draw_no_bar(connection)
        connection.execute("set timezone = 'UTC'")
        connection.execute(f"set file_search_path = {literal(warehouse.root)}")
        connection.execute("set write_buffer_row_group_count = 1")
        # DuckDB would put small row groups together whenever a file is closed.
        connection.execute("set max_vacuum_tasks = 0")
        connection.execute(f"set disabled_compression_methods = '{NOT_FOR_MEASUREMENTS}'")
        connection.execute(f"set disabled_optimizers = '{NOT_FOR_MANY_ROWS}'")
        if database:
            size = f"row_group_size {row_group_rows}"
            connection.execute(f"attach {literal(database)} as made ({size})")
            connection.execute("use made")
        yield connection
        if database:
            connection.execute("use memory")
            connection.execute("detach made")


def columns_of(connection: Connection, relation: str) -> list[str]:
    """Names of the columns of a relation or table function, in order."""
    return [row[0] for row in connection.execute(f"describe from {relation}").fetchall()]


def insert_row(connection: Connection, table: str, row: Mapping[str, Any]) -> None:
    """Inserts one row given by column name; WarehouseError for a missing or unknown column."""
    columns = columns_of(connection, table)
    if set(row) != set(columns):
        raise WarehouseError(
            f"a row of {table}: missing {sorted(set(columns) - set(row))}, "
            f"unknown {sorted(set(row) - set(columns))}"
        )
    marks = ", ".join("?" for _ in row)
    connection.execute(
        f"insert into {table} ({', '.join(row)}) values ({marks})", list(row.values())
    )


def draw_no_bar(connection: duckdb.DuckDBPyConnection) -> None:
    """Tells DuckDB to draw no progress bar of its own, on a terminal or in a notebook.

    In a notebook without ipywidgets it draws none, and refuses the setting.
    """
    with suppress(duckdb.InvalidInputException):
        connection.execute("set enable_progress_bar = false")


@contextmanager
def spill_folder(warehouse: Warehouse) -> Iterator[Path]:
    """A folder for one connection, whose lock says that it lives; those of the dead are removed."""
    warehouse.scratch.mkdir(exist_ok=True)
    remove_dead_spills(warehouse)
    folder = warehouse.scratch / secrets.token_hex(8)
    lock = folder.with_suffix(".lock")
    with held(lock, "the folder is {holder}'s", waiting=lambda: None):
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            lock.unlink(missing_ok=True)


def dead_spills(warehouse: Warehouse) -> list[Path]:
    """What connections left that ended with their process."""
    there = warehouse.scratch.iterdir() if warehouse.scratch.is_dir() else []
    return [path for path in there if not is_held(path.with_suffix(".lock"))]


def remove_dead_spills(warehouse: Warehouse) -> None:
    for path in dead_spills(warehouse):
        lock = path.with_suffix(".lock")
        with suppress(HeldElsewhereError), held(lock, "{holder}", patience=0):
            shutil.rmtree(path.with_suffix(""), ignore_errors=True)
            lock.unlink(missing_ok=True)


@lru_cache
def memory_limits() -> list[str]:
    """How much a connection takes at first, and what may be tried where that is too little.

    Each is twice the one before, up to half of what DuckDB would take of the machine.
    """
    with duckdb.connect() as connection:
        row = connection.execute(
            "select parse_formatted_bytes(current_setting('memory_limit')) // 2"
        ).fetchone()
    assert row is not None
    most = int(row[0])
    limits = [min(MEMORY_AT_MOST, most)]
    while limits[-1] < most:
        limits.append(min(2 * limits[-1], most))
    return [f"{limit // 2**20}MiB" for limit in limits]
