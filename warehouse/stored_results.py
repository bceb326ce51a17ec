"""How a stored result (`sql/stored/`) is filled for one run.

A stored query may name `$run_id`, `$top_fraction` (that run's own) and `$layer`. One that names
`$layer` runs once for each of the run's layers, which bounds its memory by one layer's rows; its
leading comment says so with a line `-- per: layer`.
"""

import re
from typing import TYPE_CHECKING

import duckdb

if TYPE_CHECKING:  # sql_files fills stored results with this module
    from warehouse.sql_files import Relation


def create_empty(connection: duckdb.DuckDBPyConnection, found: "Relation") -> None:
    """Makes the stored result's table, without rows."""
    parameters = {"run_id": "", "layer": 0, "top_fraction": 0.5}
    connection.execute(
        f"create table {found.name} as select * from ({found.body}) limit 0",
        {name: parameters[name] for name in _parameters(found)},
    )


def fill(connection: duckdb.DuckDBPyConnection, found: "Relation", run_id: str) -> None:
    """Puts the run's rows in the stored result's table, replacing those that it had."""
    connection.execute(f"delete from {found.name} where run_id = ?", [run_id])
    values: dict[str, object] = {"run_id": run_id}
    for name in _parameters(found) - {"run_id", "layer"}:
        row = connection.execute(f"select {name} from runs where run_id = ?", [run_id]).fetchone()
        values[name] = row[0] if row else None
    layers: list[int | None] = [None]
    if "layer" in _parameters(found):
        row = connection.execute("select n_layers from runs where run_id = ?", [run_id]).fetchone()
        layers = list(range(row[0])) if row else []
    for layer in layers:
        here = values if layer is None else values | {"layer": layer}
        connection.execute(f"insert into {found.name} by name {found.body}", here)


def _parameters(found: "Relation") -> set[str]:
    return set(re.findall(r"\$([a-z_]+)", found.body))
