"""What is put into a generation while it is built; `publish.py` says when.

A generation is built alone in a file that nobody else opens, so nothing here needs a transaction.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import duckdb

from selfrepair.warehouse.connection import (
    ROW_GROUP_ROWS,
    SMALL_ROW_GROUP_ROWS,
    Connection,
    columns_of,
    memory_limits,
    working_connection,
)
from selfrepair.warehouse.errors import WarehouseError
from selfrepair.warehouse.facts.run_facts import measured_tables
from selfrepair.warehouse.facts.shard_views import parquet
from selfrepair.warehouse.facts.shards import HEADS_BY, SORTED_BY
from selfrepair.warehouse.facts.tables import fact_tables
from selfrepair.warehouse.paths import Warehouse
from selfrepair.warehouse.published import stored_results
from selfrepair.warehouse.published.generations import attached
from selfrepair.warehouse.sql_files import Relation, Source, relations
from selfrepair.warehouse.sql_parsing import literal

logger = logging.getLogger(__name__)

SORTED_AT_ONCE = 200_000_000  # bytes of Parquet: some 8 M rows of head_ablations

# Rows of a row group where a row has a list: a number per neuron, twice, is 24 KB of GPT2-Small.
ROW_GROUPS_OF_LISTS = {
    "neuron_changes": 2_048,
    "neuron_repairs": SMALL_ROW_GROUP_ROWS,
    "component_changes": SMALL_ROW_GROUP_ROWS,
}


def stores(generation: Path) -> tuple[str, str] | None:
    """(facts, definitions) of a generation; None where it does not say (made by another project).

    It can be copied where both are as wanted now, and is made anew otherwise.
    """
    with duckdb.connect() as connection, attached(connection, generation, "served"):
        try:
            row = connection.execute("select facts, definitions from served.generation").fetchone()
        except (duckdb.CatalogException, duckdb.BinderException):
            return None
    return (row[0], row[1]) if row else None


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
    for table in _tables(connection):
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


def carry_over(
    warehouse: Warehouse, building: Path, served: Path, without_run: str | None, facts: str
) -> None:
    """Copies the other runs' rows from a generation that was defined otherwise.

    By column name: a new column is null there, a column that is no longer defined is left behind.
    Facts are not copied where they stay outside (`facts` "external"); where they were outside, they
    are read through the old generation's views. Stored results are computed anew by the caller.
    """
    wanted = ["runs"] if facts == "external" else ["runs", *fact_tables()]
    for table in wanted:
        with (
            _writing(warehouse, building, table) as connection,
            attached(connection, served, "served"),
        ):
            kept = ", ".join(columns_in_common(connection, table, "served"))
            if kept:
                connection.execute(
                    f"insert into {table} by name"
                    f" select {kept} from served.{table} where run_id <> ?",
                    [without_run or ""],
                )


def insert_facts(
    warehouse: Warehouse,
    building: Path,
    run_id: str,
    part: int | None,
    done: Callable[[float, str], None],
) -> None:
    """Copies a run's shards into the tables, sorted by ablation, layer, head, sequence, position.

    Some heads of a layer at a time, so that what is sorted at once (SORTED_AT_ONCE) does not grow
    with the run. A head alone needs no sorting: each shard has its rows in order, and the shards
    follow each other. (Every head alone would take twice as long: each asks all footers again.)

    part: how many of its first sequences; None: all.
    done: called with the fraction of all rows that are in, and the table under way.
    Raises WarehouseError where a table does not get the number of rows that its manifest counts.
    """
    tables = measured_tables(warehouse, run_id, part)
    total, before = max(sum(of_run.row_count() for of_run in tables), 1), 0
    for of_run in tables:
        table, count, files = of_run.table, of_run.row_count(), parquet(of_run.files())
        size = sum(shard["bytes"] for shard in of_run.complete_manifest()["shards"])
        at_once = int(count * SORTED_AT_ONCE / max(size, 1))
        inserted = 0
        done(before / total, f"inserting {table}")
        with _writing(warehouse, building, table) as connection:
            # Shards of an older version of the project may lack a newer column: it is null then.
            measured = columns_of(connection, files)
            columns = ", ".join(name for name in columns_of(connection, table) if name in measured)
            connection.execute("begin")
            for heads in _some_heads(connection, files, measured, at_once):
                row = connection.execute(
                    f"insert into {table} by name select {literal(run_id)} as run_id, {columns}"
                    f" from {files} {heads}"
                ).fetchone()
                inserted += row[0] if row else 0
                done((before + inserted) / total, f"inserting {table}")
            connection.execute("commit")
        if inserted != count:
            raise WarehouseError(
                f"{table} of {run_id} has {inserted} rows, its manifest counts {count}: "
                "measure it again with --restart"
            )
        before += count


def fill_stored_results(
    warehouse: Warehouse,
    building: Path,
    source: Source | None,
    run_ids: Iterable[str],
    done: Callable[[float, str], None],
) -> None:
    """Computes every stored result of these runs, in the order in which they read each other.

    done: called with the fraction of the stored results that are there, and the one under way.
    """
    stored = [found for found in relations(source) if found.kind == "stored"]
    todo = [(found, run_id) for found in stored for run_id in run_ids]
    for n, (found, run_id) in enumerate(todo):
        done(n / len(todo), f"computing {found.name}")
        _fill(warehouse, building, found, run_id)


def _fill(warehouse: Warehouse, building: Path, found: Relation, run_id: str) -> None:
    """In little memory; in more, where that is too little and the machine has it."""
    *smaller, most = memory_limits()
    for limit in smaller:
        try:
            with _writing(warehouse, building, found.name, limit) as connection:
                stored_results.fill(connection, found, run_id)
                return
        except duckdb.OutOfMemoryException:
            logger.info(f"{found.name} needs more than {limit} of memory")
    with _writing(warehouse, building, found.name, most) as connection:
        stored_results.fill(connection, found, run_id)


def _writing(
    warehouse: Warehouse, building: Path, table: str, memory_limit: str | None = None
) -> AbstractContextManager[Connection]:
    """A connection for one table's rows: what DuckDB keeps in memory of them goes with it."""
    rows = ROW_GROUPS_OF_LISTS.get(table)
    if rows is None:
        rows = ROW_GROUP_ROWS if table in fact_tables() else SMALL_ROW_GROUP_ROWS
    return working_connection(warehouse, building, memory_limit, row_group_rows=rows)


def check(building: Path, run_ids: list[str], run_id: str, rows: Mapping[str, int]) -> None:
    """Opens a closed file as a reader will: every view must bind, and the runs must be there.

    rows: of the tables that were inserted, how many rows of `run_id` must be read.
    """
    with duckdb.connect(str(building), read_only=True) as connection:
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


def run_ids_of(connection: Connection) -> list[str]:
    """All runs of a generation."""
    rows = connection.execute("select run_id from runs order by run_id").fetchall()
    return [row[0] for row in rows]


def parts_of(connection: Connection) -> dict[str, int | None]:
    """All runs of a generation, each with how many sequences are published; None: a whole run."""
    rows = connection.execute(
        "select run_id, nullif(n_sequences_measured, n_sequences) from runs order by run_id"
    )
    return dict(rows.fetchall())


def columns_in_common(connection: Connection, table: str, database: str) -> list[str]:
    """The columns of a table that an attached file has too; none where it lacks the table."""
    there = connection.execute(
        "select column_name from duckdb_columns() where database_name = ? and table_name = ?",
        [database, table],
    ).fetchall()
    return [name for name in columns_of(connection, table) if (name,) in there]


def _some_heads(connection: Connection, files: str, columns: list[str], at_once: int) -> list[str]:
    """Clauses that part a table's rows, in its order: heads of one layer, up to `at_once` rows.

    A head is never parted, nor a layer where there are no heads. Only by what differs within a
    part are its rows ordered: text among the keys makes sorting slow.
    """
    groups = [name for name in HEADS_BY if name in columns]
    if not groups:
        return [_ordered_by(columns)]
    some = ", ".join(groups)
    parts: list[tuple[list[Any], Any, Any, int]] = []  # values before the last, first, last, rows
    for *outer, inner, rows in connection.execute(
        f"select {some}, count(*) from {files} group by all order by all"
    ).fetchall():
        if parts and parts[-1][0] == outer and parts[-1][3] + rows <= at_once:
            _, first, _, so_far = parts.pop()
            parts.append((outer, first, inner, so_far + rows))
        else:
            parts.append((outer, inner, inner, rows))
    clauses = []
    for outer, first, last, _ in parts:
        fixed = zip(groups, outer, strict=False)
        conditions = [f"{name} = {_value(value)}" for name, value in fixed]
        conditions.append(f"{groups[-1]} between {_value(first)} and {_value(last)}")
        differ = groups[-1:] if first != last else []
        order = _ordered_by([*differ, *(name for name in columns if name not in groups)])
        clauses.append(f"where {' and '.join(conditions)} {order}")
    return clauses


def _ordered_by(columns: list[str]) -> str:
    """An `order by`; none where the shards' own order is the one that is wanted."""
    keys = [name for name in SORTED_BY if name in columns]
    return "" if set(keys) <= {"sequence", "position"} else f"order by {', '.join(keys)}"


def _value(value: Any) -> str:
    return literal(value) if isinstance(value, str) else str(value)


def _tables(connection: Connection) -> list[str]:
    rows = connection.execute(
        "select table_name from duckdb_tables() where database_name = current_database()"
    ).fetchall()
    return [row[0] for row in rows]
