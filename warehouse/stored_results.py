"""How a stored result (`sql/stored/`) is filled for one run.

A stored query may name `$run_id`, `$top_fraction` and `$n_tokens` (that run's own), `$layer`
and `$head`. One that names `$layer` runs once for each of the run's layers, which bounds its memory
by one layer's rows; one that names `$head` as well, once for each head. Its leading comment says so
with a line `-- per: layer` or `-- per: head`.
"""

import itertools
import re
from typing import TYPE_CHECKING, Any

import duckdb

if TYPE_CHECKING:  # sql_files fills stored results with this module
    from warehouse.sql_files import Relation

PER = {"layer": "n_layers", "head": "n_heads"}  # run once for each, of which a run has so many


def create_empty(connection: duckdb.DuckDBPyConnection, found: "Relation") -> None:
    """Makes the stored result's table, without rows."""
    parameters = {"run_id": "", "layer": 0, "head": 0, "top_fraction": 0.5, "n_tokens": 1}
    connection.execute(
        f"create table {found.name} as select * from ({found.body}) limit 0",
        {name: parameters[name] for name in _parameters(found)},
    )


def fill(connection: duckdb.DuckDBPyConnection, found: "Relation", run_id: str) -> None:
    """Puts the run's rows in the stored result's table, replacing those that it had."""

    def of_run(column: str) -> Any:
        row = connection.execute(f"select {column} from runs where run_id = ?", [run_id]).fetchone()
        return row[0] if row else 0

    connection.execute(f"delete from {found.name} where run_id = ?", [run_id])
    named = _parameters(found)
    values = {"run_id": run_id} | {name: of_run(name) for name in named - {"run_id", *PER}}
    times = [range(of_run(count)) if name in named else (0,) for name, count in PER.items()]
    # Each insert by itself: of several in one transaction, the first without rows, DuckDB 2.0
    # counts the rows afterwards but does not read them until the file is opened again.
    for place in itertools.product(*times):
        here = {name: n for name, n in zip(PER, place, strict=True) if name in named}
        connection.execute(f"insert into {found.name} by name {found.body}", values | here)


def _parameters(found: "Relation") -> set[str]:
    return set(re.findall(r"\$([a-z_]+)", found.body))
