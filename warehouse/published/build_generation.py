"""What is put into a generation while it is built; `publish.py` says when.

A generation is built alone in a file that nobody else opens, so nothing here needs a transaction.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from selfrepair.warehouse.connection import (
    Config,
    Connection,
    columns_of,
    memory_limits,
    working_connection,
)
from selfrepair.warehouse.errors import WarehouseError
from selfrepair.warehouse.paths import Warehouse
from selfrepair.warehouse.published import outside, stored_results
from selfrepair.warehouse.published.generations import attached
from selfrepair.warehouse.published.sorted_facts import (
    WritingOne,
    carry_facts,
    columns_in_common,
    writing_each,
)
from selfrepair.warehouse.sql_files import Relation, Source, relations
from selfrepair.warehouse.sql_parsing import literal

# STORAGE_VERSION decides who can read the file: DuckDB 1.5 (the newest command-line client on PyPI)
# cannot open what 2.0 writes by default, and 2.0 reads both.
STORAGE_VERSION = "v1.5.0"
SMALL_RUN_ROWS = 500_000
"""Rows of `head_ablations` in which a run's stored results are written by one connection."""
logger = logging.getLogger(__name__)


def empty_file(path: Path) -> None:
    """A database without tables, in the storage version that all readers can open."""
    with duckdb.connect() as connection:
        connection.execute(f"attach {literal(path)} as made (storage_version '{STORAGE_VERSION}')")
        connection.execute("detach made")


def definitions_of(generation: Path) -> str | None:
    """By which definitions a generation was made; None where it does not say.

    It can be copied where they are those of now, and is made anew otherwise.
    """
    with duckdb.connect() as connection, attached(connection, generation, "served"):
        try:
            row = connection.execute("select definitions from served.generation").fetchone()
        except (duckdb.CatalogException, duckdb.BinderException):
            return None
    return row[0] if row else None


def remove_views_and_macros(connection: Connection) -> None:
    """Removes all that is made anew at every publishing, so that what is no longer defined goes."""
    connection.execute("begin")
    for kind, name in connection.execute(
        """
        select 'view', view_name
        from duckdb_views()
        where not internal and database_name = current_database()
        union all
        select if(function_type = 'table_macro', 'macro table', 'macro'), function_name
        from duckdb_functions()
        where not internal and database_name = current_database()
        """
    ).fetchall():
        connection.execute(f'drop {kind} "{name}"')
    connection.execute("commit")


def remove_run(connection: Connection, run_id: str) -> None:
    """Removes a run's rows from every table: facts and stored results.

    Layer by layer where rows have one, because what a statement removes is noted in memory.
    """
    of_run = connection.execute("select n_layers from runs where run_id = ?", [run_id]).fetchone()
    n_layers = of_run[0] if of_run else 0
    for table in outside.tables_of(connection):
        columns = columns_of(connection, table)
        if {"run_id", "layer"} <= set(columns):
            for layer in range(n_layers):
                connection.execute(
                    f'delete from "{table}" where run_id = ? and layer = ?', [run_id, layer]
                )
        elif "run_id" in columns:
            connection.execute(f'delete from "{table}" where run_id = ?', [run_id])
    # Without this, the blocks of the removed rows would not be used again by the new ones.
    connection.execute("checkpoint")


def carry_over(warehouse: Warehouse, building: Path, served: Path, run_ids: Iterable[str]) -> None:
    """Takes some runs from another generation, which may be defined otherwise, by column name.

    Stored results are computed anew by the caller.
    """
    for run_id in run_ids:
        carry_facts(warehouse, building, served, run_id)
        with (
            working_connection(warehouse, building) as connection,
            attached(connection, served, "served"),
        ):
            kept = ", ".join(columns_in_common(connection, "runs", "served"))
            connection.execute(
                f"insert into runs by name select {kept} from served.runs where run_id = ?",
                [run_id],
            )


def fill_stored_results(
    warehouse: Warehouse,
    building: Path,
    source: Source | None,
    run_ids: Sequence[str],
    done: Callable[[float, str], None],
) -> None:
    """Computes every stored result of these runs, in the order in which they read each other.

    Of a run that lies outside, what is large lies there too. Meanwhile the tables show, of what
    lies outside, this run's rows alone; afterwards all.

    done: called with the fraction of the stored results that are there, and the one under way.
    """
    with working_connection(warehouse, building) as connection:
        rows = connection.execute("select distinct run_id from parquet_files").fetchall()
        apart = {run_id for (run_id,) in rows}
        small = {run_id for run_id in run_ids if _is_small(connection, run_id)} - apart
    stored = [found for found in relations(source) if found.kind == "stored"]
    for nth, run_id in enumerate(run_ids):
        if apart:
            with working_connection(warehouse, building) as connection:
                outside.show_all_outside(connection, run_id)
        with writing_each(warehouse, building, together=run_id in small) as writing_one:
            for n, found in enumerate(stored, nth * len(stored)):
                done(n / len(stored) / len(run_ids), f"computing {found.name}")
                _fill(_StoredResult(warehouse, found, run_id, run_id in apart, writing_one))
    if apart:
        with working_connection(warehouse, building) as connection:
            outside.write_list_anew(connection)
            outside.show_all_outside(connection)


def _is_small(connection: Connection, run_id: str) -> bool:
    """Whether a run has so few rows that the memory which they take is little: some 40 MB."""
    row = connection.execute(
        "select n_tokens * n_layers * n_heads * len(ablations) from runs where run_id = ?", [run_id]
    ).fetchone()
    return row is not None and row[0] is not None and row[0] < SMALL_RUN_ROWS


@dataclass(frozen=True)
class _StoredResult:
    """One stored result of one run, which lies in the file, or apart from it where it is large."""

    warehouse: Warehouse
    found: Relation
    run_id: str
    apart: bool
    writing_one: WritingOne

    def fill(self, memory_limit: str) -> None:
        name = self.found.name
        with self.writing_one(name, memory_limit) as connection:
            if not self.apart:
                inside = outside.table_inside(connection, name)
                stored_results.fill(connection, self.found, self.run_id, inside)
                return
            rows = "rows_apart"
            connection.execute(f"create temp table {rows} as from {name} limit 0")
            stored_results.fill(connection, self.found, self.run_id, rows)
            outside.put_apart(connection, self.warehouse, self.run_id, name, rows)


def _fill(result: _StoredResult) -> None:
    """In little memory; in more, where that is too little and the machine has it."""
    *smaller, most = memory_limits()
    for limit in smaller:
        try:
            return result.fill(limit)
        except duckdb.OutOfMemoryException:
            logger.info(f"{result.found.name} needs more than {limit} of memory")
    result.fill(most)


def check(
    warehouse: Warehouse, building: Path, run_ids: list[str], run_id: str, rows: Mapping[str, int]
) -> None:
    """Opens a closed file as a reader will: every view must bind, and the runs must be there.

    rows: of the tables that were inserted, how many rows of `run_id` must be read.
    """
    config: Config = {"file_search_path": str(warehouse.root)}
    with duckdb.connect(str(building), read_only=True, config=config) as connection:
        files = connection.execute("select file from parquet_files").fetchall()
        outside.refuse_others(warehouse, [warehouse.root / file for (file,) in files])
        if run_ids_of(connection) != run_ids:
            raise WarehouseError("the file that was built does not hold the runs that it should")
        for table, count in rows.items():
            # A filter that the statistics cannot answer, so that the rows are really read.
            read = connection.execute(
                f"select count(*) from {table} where run_id = ? and sequence % 2 in (0, 1)",
                [run_id],
            ).fetchone()
            if read != (count,):
                raise WarehouseError(
                    f"{table} of {run_id} was given {count} rows, and not all can be read: "
                    "publish it again"
                )
        for (view,) in connection.execute(
            "select view_name from duckdb_views() where not internal"
        ).fetchall():
            connection.execute(f'select * from "{view}" limit 0')


def files_outside(building: Path) -> list[str]:
    """The Parquet files that a closed generation names, as paths from the warehouse's folder."""
    with duckdb.connect(str(building), read_only=True) as connection:
        rows = connection.execute("select file from parquet_files order by all").fetchall()
    return [row[0] for row in rows]


def run_ids_of(connection: Connection) -> list[str]:
    """All runs of a generation."""
    rows = connection.execute("select run_id from runs order by run_id").fetchall()
    return [row[0] for row in rows]
