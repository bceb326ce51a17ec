"""A run's shards as DuckDB reads them: a table function, or views of the fact tables' names."""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from selfrepair.warehouse.connection import Connection
from selfrepair.warehouse.facts.run_facts import measured_tables
from selfrepair.warehouse.facts.tables import fact_tables
from selfrepair.warehouse.paths import Warehouse
from selfrepair.warehouse.sql_parsing import literal


def parquet(files: Iterable[Path]) -> str:
    """A table function that reads exactly these files, in this order."""
    names = ", ".join(literal(file) for file in files)
    return f"read_parquet([{names}], hive_partitioning = false)"


def view_external_facts(
    connection: Connection,
    warehouse: Warehouse,
    parts: Mapping[str, int | None],
    tables: Collection[str] | None = None,
) -> None:
    """Makes the fact tables views over the shards of these runs, with the same columns and types.

    parts: the runs, each with how many of its first sequences are looked at; None: the whole run.
    tables: those that are asked, which must be measured; the others have no rows. None: all.
    A table of that name is replaced. Paths are absolute; the files are those of the manifests.
    Raises WarehouseError where a table of a run's plan is not measured.
    """
    measured = [measured_tables(warehouse, run_id, part) for run_id, part in parts.items()]
    for table in fact_tables():
        described = connection.execute(f"describe {table}").fetchall()
        columns = ", ".join(f"cast({row[0]} as {row[1]}) as {row[0]}" for row in described)
        # The first select has no row: it names all columns, should shards lack one, or be none.
        nothing = ", ".join(f"cast(null as {row[1]}) as {row[0]}" for row in described)
        selects = [f"select {nothing} where false"]
        selects += [
            f"select {literal(of_run.run_id)} as run_id, * from {parquet(of_run.files())}"
            for of_run in (found for run_tables in measured for found in run_tables)
            if of_run.table == table and (tables is None or table in tables)
        ]
        query = " union all by name ".join(selects)
        connection.execute(f"drop table {table}")
        connection.execute(f"create view {table} as select {columns} from ({query})")
