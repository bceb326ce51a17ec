"""Makes what `sql/` defines (`sql_files.py`) on a connection, with its documentation.

Tables that the project brings along are filled: `sql/data/<table>.csv` holds the rows of that
table.
"""

import io
from collections.abc import Iterable, Iterator

import duckdb
import pyarrow.csv

from selfrepair.warehouse.layers_together import HEADS, LAYERS
from selfrepair.warehouse.sql_files import (
    Relation,
    Source,
    column_comments,
    packaged_sql,
    relations,
    with_upstream,
)
from selfrepair.warehouse.sql_parsing import literal


def create_tables(connection: duckdb.DuckDBPyConnection, source: Source | None = None) -> None:
    """Makes the empty tables of `sql/tables/` where they do not exist yet."""
    have = _existing(connection)
    for found in relations(source):
        if found.kind == "table" and found.name not in have:
            connection.execute(found.body)


def create_all(
    connection: duckdb.DuckDBPyConnection,
    source: Source | None = None,
    *,
    comments: bool = True,
    only: Iterable[str] | None = None,
) -> None:
    """Makes every stored result, view and macro on a connection that has the tables.

    The tables may be tables or views (over Parquet, say) of the same names; one that is not there
    is made, empty, and so is a stored result (`stored_results.fill` puts a run's rows in). Old
    views and macros are replaced.

    only: relations, of which no more is made than what they read.
    """
    create_tables(connection, source)
    _fill_reference_data(connection, source or packaged_sql())
    have = _existing(connection)
    wanted = None if only is None else with_upstream(only, source)
    for found in relations(source):
        if wanted is not None and found.name not in wanted:
            continue
        if found.kind == "view":
            connection.execute(f"create or replace view {found.name} as {found.body}")
        elif found.kind == "macro":
            create = found.body.replace("create macro", "create or replace macro", 1)
            connection.execute(create)
        elif found.kind == "stored" and found.name not in have:
            _create_empty(connection, found)
    if comments:
        comment_all(connection, source)


def _create_empty(connection: duckdb.DuckDBPyConnection, stored: Relation) -> None:
    """Makes a stored result's table, with the columns that its query has, without rows."""
    numbers = dict.fromkeys((*LAYERS, *HEADS), 0)
    anything = numbers | {"run_id": "", "top_fraction": 0.5, "n_tokens": 1}
    connection.execute(
        f"create table {stored.name} as select * from ({stored.body}) limit 0",
        {name: anything[name] for name in stored.parameters},
    )


def comment_all(connection: duckdb.DuckDBPyConnection, source: Source | None = None) -> None:
    """Puts the files' documentation on every relation and column of the connection.

    Raises WarehouseError for a column that `columns.toml` does not explain.
    """
    shown_as, columns = _existing(connection), _columns(connection)
    statements = []
    for found in relations(source):
        text = literal(found.comment)
        if found.kind == "macro":
            what = "macro table" if found.is_table_macro else "macro"
            statements.append(f"comment on {what} {found.name} is {text}")
        elif found.kind != "check":
            statements.append(f"comment on {shown_as[found.name]} {found.name} is {text}")
            commented = columns[found.name]
            statements += [
                f'comment on column {found.name}."{column}" is {literal(meaning)}'
                for column, meaning in column_comments(found.name, [*commented], source).items()
                if meaning != commented[column]
            ]
    # Hundreds of comments, each of which would be synced to the disk by itself.
    connection.execute(";\n".join(["begin", *statements, "commit"]))


def _columns(connection: duckdb.DuckDBPyConnection) -> dict[str, dict[str, str | None]]:
    """Of each table and view of the connection's own database its columns, and their comments."""
    found: dict[str, dict[str, str | None]] = {}
    for name, column, comment in connection.execute(
        """
        select table_name, column_name, comment
        from duckdb_columns()
        where database_name in (current_database(), 'temp')
        order by table_name, column_index
        """
    ).fetchall():
        found.setdefault(name, {})[column] = comment
    return found


def _existing(connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """Name of each table and view of the connection's own database -> 'table' or 'view'."""
    rows = connection.execute(
        """
        select table_name, 'table'
        from duckdb_tables()
        where database_name in (current_database(), 'temp')
        union all
        select view_name, 'view'
        from duckdb_views()
        where not internal and database_name in (current_database(), 'temp')
        """
    ).fetchall()
    return dict(rows)


def _fill_reference_data(connection: duckdb.DuckDBPyConnection, source: Source) -> None:
    """Puts the rows of every file of `sql/data/` in the table of its name, in place of its rows."""
    for table, data in _csv_files(source):
        rows = pyarrow.csv.read_csv(io.BytesIO(data))
        connection.register("reference_rows", rows)
        connection.execute(f"delete from {table}")
        connection.execute(f"insert into {table} by name select * from reference_rows")
        connection.unregister("reference_rows")


def _csv_files(source: Source) -> Iterator[tuple[str, bytes]]:
    folder = source / "data"
    if folder.is_dir():
        for file in sorted(folder.iterdir(), key=lambda f: f.name):
            if file.name.endswith(".csv"):
                yield file.name.removesuffix(".csv"), file.read_bytes()
