"""DuckDB connections for heavy work: bounded memory, spilling into the warehouse's own folder."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from warehouse.paths import Warehouse
from warehouse.sql_parsing import literal

Connection = duckdb.DuckDBPyConnection

MEMORY_AT_MOST = 2**29  # bytes; inserting 143 M rows took 5 % longer in it than in four times that
ROW_GROUP_ROWS = 122_880  # DuckDB's own number; each group takes memory for what is known of it
SMALL_ROW_GROUP_ROWS = 12_288  # for long rows, and where a head's rows are to be shared by cores

# The last bits of a measured float are noise: trying how to compress them takes a fifth of the time
# of inserting head_ablations, for 3 % of its part of the file.
NOT_FOR_MEASUREMENTS = "alp,alprd,chimp,patas"


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
    spill = _spill_folder(warehouse)
    connection = duckdb.connect()
    try:
        limit = memory_limit or _half_of_default(connection)
        connection.execute(f"set memory_limit = '{limit}'")
        # Blocks of the file are kept for the next ones, instead of given back and asked for again.
        connection.execute(f"set block_allocator_memory = '{limit}'")
        connection.execute(f"set temp_directory = {literal(spill)}")
        connection.execute("set enable_progress_bar = false")
        connection.execute("set timezone = 'UTC'")
        connection.execute("set write_buffer_row_group_count = 1")
        # DuckDB would put small row groups together whenever a file is closed.
        connection.execute("set max_vacuum_tasks = 0")
        connection.execute(f"set disabled_compression_methods = '{NOT_FOR_MEASUREMENTS}'")
        if database:
            size = f"row_group_size {row_group_rows}"
            connection.execute(f"attach {literal(database)} as made ({size})")
            connection.execute("use made")
        yield connection
        if database:
            connection.execute("use memory")
            connection.execute("detach made")
    finally:
        connection.close()
        shutil.rmtree(spill, ignore_errors=True)


def _spill_folder(warehouse: Warehouse) -> Path:
    """A folder for this connection; those of processes that are gone are removed."""
    warehouse.scratch.mkdir(exist_ok=True)
    for other in warehouse.scratch.iterdir():
        owner = re.match(r"(\d+)-", other.name)
        if owner and not _alive(int(owner[1])):
            shutil.rmtree(other, ignore_errors=True)
    folder = warehouse.scratch / f"{os.getpid()}-{os.urandom(4).hex()}"
    folder.mkdir()
    return folder


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _half_of_default(connection: duckdb.DuckDBPyConnection) -> str:
    row = connection.execute("select current_setting('memory_limit')").fetchone()
    found = re.fullmatch(r"([\d.]+)\s*([KMGT]?)i?B", row[0]) if row else None
    if not found:
        return "2GB"
    unit = 1024 ** " KMGT".index(found[2] or " ")
    return f"{min(int(float(found[1]) * unit / 2), MEMORY_AT_MOST) // 2**20}MiB"
