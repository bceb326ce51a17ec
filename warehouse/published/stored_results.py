"""How a stored result (`sql/stored/`) is filled for one run.

A stored query may name `$run_id`, `$top_fraction` and `$n_tokens` (that run's own), `$layer`,
`$head`, `$first_head` and `$last_head`. One that names `$layer` runs once for each of the run's
layers, which bounds its memory by one layer's rows; one that names `$head` as well, once for each
head; one that names a first and a last head, once for as many heads as have ROWS_AT_ONCE rows.
"""

import itertools
from typing import Any

import duckdb

from selfrepair.warehouse.sql_files import Relation

PER = {"layer": "n_layers", "head": "n_heads"}  # run once for each, of which a run has so many
RANGE = ("first_head", "last_head")
ROWS_AT_ONCE = 4_000_000
"""Rows of `head_ablations` that a query takes together: it keeps some 100 MB of them."""


def fill(connection: duckdb.DuckDBPyConnection, found: Relation, run_id: str, table: str) -> None:
    """Puts the run's rows of a stored result in a table, replacing those that it had there."""

    def of_run(column: str) -> Any:
        row = connection.execute(f"select {column} from runs where run_id = ?", [run_id]).fetchone()
        return row[0] if row else 0

    connection.execute(f"delete from {table} where run_id = ?", [run_id])
    named = found.parameters
    own = named - {"run_id", *PER, *RANGE}
    values = {"run_id": run_id} | {name: of_run(name) for name in own}
    times = [range(of_run(count)) if name in named else (0,) for name, count in PER.items()]
    heads = [dict[str, int]()]
    if named.issuperset(RANGE):
        rows_of_head = max(1, of_run("n_tokens * len(ablations)"))
        heads = _ranges(of_run("n_heads"), max(1, ROWS_AT_ONCE // rows_of_head))
    # Each insert by itself: of several in one transaction, the first without rows, DuckDB 2.0
    # counts the rows afterwards but does not read them until the file is opened again.
    for place, some in itertools.product(itertools.product(*times), heads):
        here = {name: n for name, n in zip(PER, place, strict=True) if name in named} | some
        connection.execute(f"insert into {table} by name {found.body}", values | here)


def _ranges(n: int, at_once: int) -> list[dict[str, int]]:
    """The first and last of so many heads, again and again."""
    return [
        dict(zip(RANGE, (first, min(first + at_once, n) - 1), strict=True))
        for first in range(0, n, at_once)
    ]
