"""How a stored result (`sql/stored/`) is filled for one run.

A stored query may name `$run_id`, `$top_fraction` and `$n_tokens` (that run's own), `$layer`
and `$head`. One that names `$layer` runs once for each of the run's layers, which bounds its memory
by one layer's rows; one that names `$head` as well, once for each head.
"""

import itertools
from typing import Any

import duckdb

from selfrepair.warehouse.sql_files import Relation

PER = {"layer": "n_layers", "head": "n_heads"}  # run once for each, of which a run has so many


def fill(connection: duckdb.DuckDBPyConnection, found: Relation, run_id: str) -> None:
    """Puts the run's rows in the stored result's table, replacing those that it had."""

    def of_run(column: str) -> Any:
        row = connection.execute(f"select {column} from runs where run_id = ?", [run_id]).fetchone()
        return row[0] if row else 0

    connection.execute(f"delete from {found.name} where run_id = ?", [run_id])
    named = found.parameters
    values = {"run_id": run_id} | {name: of_run(name) for name in named - {"run_id", *PER}}
    times = [range(of_run(count)) if name in named else (0,) for name, count in PER.items()]
    # Each insert by itself: of several in one transaction, the first without rows, DuckDB 2.0
    # counts the rows afterwards but does not read them until the file is opened again.
    for place in itertools.product(*times):
        here = {name: n for name, n in zip(PER, place, strict=True) if name in named}
        connection.execute(f"insert into {found.name} by name {found.body}", values | here)
