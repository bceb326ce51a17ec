"""How a stored result (`sql/stored/`) is filled for one run.

A stored query may name `$run_id`, `$top_fraction` and `$n_tokens` (that run's own), and the layers
and heads that it is asked for at a time (`layers_together.py`).
"""

from typing import Any

import duckdb

from selfrepair.warehouse.layers_together import HEADS, LAYERS, taken_together
from selfrepair.warehouse.sql_files import Relation


def fill(connection: duckdb.DuckDBPyConnection, found: Relation, run_id: str, table: str) -> None:
    """Puts the run's rows of a stored result in a table, replacing those that it had there."""

    def of_run(column: str) -> Any:
        row = connection.execute(f"select {column} from runs where run_id = ?", [run_id]).fetchone()
        return row[0] if row else 0

    connection.execute(f"delete from {table} where run_id = ?", [run_id])
    named = found.parameters
    own = named - {"run_id", *LAYERS, *HEADS}
    values = {"run_id": run_id} | {name: of_run(name) for name in own}
    of_size = ("n_layers", "n_heads", "n_tokens * len(ablations)")
    sizes = [of_run(column) for column in of_size] if named.issuperset(LAYERS) else [1, 1, 1]
    # Each insert by itself: of several in one transaction, the first without rows, DuckDB 2.0
    # counts the rows afterwards but does not read them until the file is opened again.
    for some in taken_together(named, *sizes):
        connection.execute(f"insert into {table} by name {found.body}", values | some)
