"""A run's facts, sorted by ablation, layer, head, sequence and position: in the file, or outside.

They come from the run's shards, or from an earlier generation. Some heads of a layer are taken at a
time, so that what is sorted at once (SORTED_AT_ONCE) does not grow with the run. A head alone needs
no sorting: each shard has its rows in order, and the shards follow each other. (Every head alone
would take twice as long: each asks all footers again.)
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from selfrepair.warehouse.connection import (
    ROW_GROUP_ROWS,
    SMALL_ROW_GROUP_ROWS,
    Connection,
    columns_of,
    insert_row,
    working_connection,
)
from selfrepair.warehouse.errors import WarehouseError
from selfrepair.warehouse.facts.run_facts import all_tables, measured_tables
from selfrepair.warehouse.facts.run_table import RunTable
from selfrepair.warehouse.facts.shard_views import parquet
from selfrepair.warehouse.facts.shards import HEADS_BY, SORTED_BY
from selfrepair.warehouse.facts.tables import fact_tables
from selfrepair.warehouse.paths import Warehouse
from selfrepair.warehouse.published import outside
from selfrepair.warehouse.published.generations import attached
from selfrepair.warehouse.sql_parsing import literal

SORTED_AT_ONCE = 200_000_000  # bytes of Parquet: some 8 M rows of head_ablations
SMALL = 2**21  # bytes of Parquet of a run whose tables are written together

# Rows of a row group where a row has a list: a number per neuron, twice, is 24 KB of GPT2-Small.
ROW_GROUPS_OF_LISTS = {
    "neuron_changes": 2_048,
    "neuron_repairs": SMALL_ROW_GROUP_ROWS,
    "component_changes": SMALL_ROW_GROUP_ROWS,
}


def insert_facts(
    warehouse: Warehouse,
    building: Path,
    run_id: str,
    part: int | None,
    done: Callable[[float, str], None],
    *,
    one_file: bool = False,
) -> None:
    """Copies a run's shards into the tables; of a run too large for the file, what is large goes
    into Parquet files beside it.

    part: how many of its first sequences; None: all.
    done: called with the fraction of all rows that are in, and the table under way.
    one_file: however large the run is, it goes into the file.
    Raises WarehouseError where a table does not get the number of rows that its manifest counts.
    """
    tables = measured_tables(warehouse, run_id, part)
    apart = not one_file and outside.lies_outside(warehouse, tables)
    total, before = max(sum(of_run.row_count() for of_run in tables), 1), 0
    with writing_each(warehouse, building, together=not apart and is_small(tables)) as writing_one:
        for of_run in tables:
            table, count = of_run.table, of_run.row_count()
            done(before / total, f"inserting {table}")
            with writing_one(table) as connection:
                size = outside.n_bytes(of_run)
                rows = _Rows(run_id, table, parquet(of_run.files()), count, size)
                inserted = 0
                for more in _put(connection, warehouse, rows, apart):
                    inserted += more
                    done((before + inserted) / total, f"inserting {table}")
            if inserted != count:
                raise WarehouseError(
                    f"{table} of {run_id} has {inserted} rows, its manifest counts {count}: "
                    "measure it again with --restart"
                )
            before += count


def carry_facts(warehouse: Warehouse, building: Path, served: Path, run_id: str) -> None:
    """Takes a run's facts from another generation, which may be defined otherwise.

    By column name: a new column is null there, a column that is no longer defined is left behind.
    Files outside are named again, not written again; what is large and lies in the generation
    itself, as of a run that an older version published, goes out.
    """
    tables = all_tables(warehouse, run_id)
    apart = outside.lies_outside(warehouse, tables)
    with writing_each(warehouse, building, together=not apart and is_small(tables)) as writing_one:
        for of_run in tables:
            with writing_one(of_run.table) as connection, attached(connection, served, "served"):
                _carry(connection, warehouse, of_run, apart)


def _carry(connection: Connection, warehouse: Warehouse, of_run: RunTable, apart: bool) -> None:
    run_id, table = of_run.run_id, of_run.table
    if _named_again(connection, run_id, table):
        return
    there = _table_there(connection, table)
    if there is None:
        return
    own = f"from {there} where run_id = {literal(run_id)}"
    row = connection.execute(f"select count(*) {own}").fetchone()
    source = f"(select * exclude run_id {own})"
    rows = _Rows(run_id, table, source, row[0] if row else 0, outside.n_bytes(of_run))
    list(_put(connection, warehouse, rows, apart))


def columns_in_common(connection: Connection, table: str, database: str) -> list[str]:
    """The columns of a table that an attached file has too; none where it lacks the table."""
    there = connection.execute(
        "select column_name from duckdb_columns() where database_name = ? and table_name = ?",
        [database, table],
    ).fetchall()
    return [name for name in columns_of(connection, table) if (name,) in there]


def writing(
    warehouse: Warehouse, building: Path, table: str, memory_limit: str | None = None
) -> AbstractContextManager[Connection]:
    """A connection for one table's rows: what DuckDB keeps in memory of them goes with it."""
    rows = row_group_rows(table)
    return working_connection(warehouse, building, memory_limit, row_group_rows=rows)


WritingOne = Callable[..., AbstractContextManager[Connection]]
"""Table, and perhaps how much memory it may take, to a connection that writes its rows."""


@contextmanager
def writing_each(warehouse: Warehouse, building: Path, *, together: bool) -> Iterator[WritingOne]:
    """How to write one table after another of a run: each by its own connection (`writing`).

    together: by the same one, for few rows, which take less time than another connection.
    """
    if not together:
        yield partial(writing, warehouse, building)
        return
    rows = SMALL_ROW_GROUP_ROWS
    with working_connection(warehouse, building, row_group_rows=rows) as connection:

        def writing_one(_table: str, memory_limit: str | None = None) -> nullcontext[Connection]:
            if memory_limit:
                connection.execute(f"set memory_limit = '{memory_limit}'")
            return nullcontext(connection)

        yield writing_one


def is_small(tables: Iterable[RunTable]) -> bool:
    """Whether the tables of a run, or of a part of it, are to be written together."""
    return 0 < sum(outside.n_bytes(of_run) for of_run in tables) <= SMALL


def row_group_rows(table: str) -> int:
    """How many rows of a table are written, and can be left out in reading, together."""
    small = ROW_GROUPS_OF_LISTS.get(table)
    return small or (ROW_GROUP_ROWS if table in fact_tables() else SMALL_ROW_GROUP_ROWS)


@dataclass(frozen=True)
class _Rows:
    """The rows of a table of one run, as they are found.

    source: what DuckDB reads them from; it has no run_id.
    n_bytes: their size as Parquet.
    """

    run_id: str
    table: str
    source: str
    count: int
    n_bytes: int


def _put(connection: Connection, warehouse: Warehouse, rows: _Rows, apart: bool) -> Iterator[int]:
    """Puts the rows in their table, or outside; gives how many, part after part.

    apart: they go outside, unless they are few.
    """
    table = rows.table
    measured = columns_of(connection, rows.source)
    # Shards of an older version of the project may lack a newer column: it is null then.
    columns = ", ".join(name for name in columns_of(connection, table) if name in measured)
    at_once = int(rows.count * SORTED_AT_ONCE / max(rows.n_bytes, 1))
    connection.execute("begin")
    for stem, heads in _some_heads(connection, rows.source, measured, at_once):
        some = f"{columns} from {rows.source} {heads}"
        if apart and rows.n_bytes > outside.TABLE_INSIDE_AT_MOST:
            size = row_group_rows(table)
            file = outside.write(
                connection, warehouse, rows.run_id, table, stem, f"select {some}", size
            )
            if file is None:
                raise WarehouseError(f"no file of {table} was written for {rows.run_id}")
            insert_row(connection, "parquet_files", file)
            yield int(file["n_rows"])
        else:
            row = connection.execute(
                f"insert into {table} by name select {literal(rows.run_id)} as run_id, {some}"
            ).fetchone()
            yield row[0] if row else 0
    connection.execute("commit")


def _some_heads(
    connection: Connection, source: str, columns: list[str], at_once: int
) -> list[tuple[str, str]]:
    """Clauses that part a table's rows, in its order: heads of one layer, up to `at_once` rows.

    Each with a name for its part. A head is never parted, nor a layer where there are no heads.
    Only by what differs within a part are its rows ordered: text among the keys makes sorting slow.
    """
    groups = [name for name in HEADS_BY if name in columns]
    if not groups:
        return [("rows", _ordered_by(columns))]
    some = ", ".join(groups)
    parts: list[tuple[list[Any], Any, Any, int]] = []  # values before the last, first, last, rows
    for *outer, inner, rows in connection.execute(
        f"select {some}, count(*) from {source} group by all order by all"
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
        stem = "-".join(str(value) for value in (*outer, first, last))
        clauses.append((stem, f"where {' and '.join(conditions)} {order}"))
    return clauses


def _ordered_by(columns: list[str]) -> str:
    """An `order by`; none where the shards' own order is the one that is wanted."""
    keys = [name for name in SORTED_BY if name in columns]
    return "" if set(keys) <= {"sequence", "position"} else f"order by {', '.join(keys)}"


def _value(value: Any) -> str:
    return literal(value) if isinstance(value, str) else str(value)


def _named_again(connection: Connection, run_id: str, table: str) -> bool:
    """Whether the attached generation has a run's rows of a table outside; names them here too."""
    if not columns_in_common(connection, "parquet_files", "served"):
        return False
    rows = connection.execute(
        "insert into parquet_files by name from served.parquet_files"
        " where run_id = ? and table_name = ?",
        [run_id, table],
    ).fetchone()
    return bool(rows and rows[0])


def _table_there(connection: Connection, table: str) -> str | None:
    """The attached generation's own rows of a table; None where it lacks the table."""
    for name in (table + outside.INSIDE, table):
        if connection.execute(
            "select 1 from duckdb_columns() where database_name = 'served' and table_name = ?"
            " limit 1",
            [name],
        ).fetchone():
            return f"served.{name}"
    return None
