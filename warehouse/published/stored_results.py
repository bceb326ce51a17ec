"""How a stored result (`sql/stored/`) is filled for one run.

A stored query may name `$run_id`, `$top_fraction` and `$n_tokens` (that run's own), `$first_layer`,
`$last_layer`, `$first_head` and `$last_head`. One that names a first and a last layer runs once for
as many layers as have ROWS_AT_ONCE rows, which bounds its memory; one that names heads as well,
once for as many heads of a layer, where one layer has more.
"""

from collections.abc import Iterator
from typing import Any

import duckdb

from selfrepair.warehouse.sql_files import Relation

LAYERS, HEADS = ("first_layer", "last_layer"), ("first_head", "last_head")
ROWS_AT_ONCE = 4_000_000
"""Rows of `head_ablations` that a query takes together: it keeps some 100 MB of them.

Each query takes some 25 ms by itself, and half a second where a million tokens are joined."""


def fill(connection: duckdb.DuckDBPyConnection, found: Relation, run_id: str, table: str) -> None:
    """Puts the run's rows of a stored result in a table, replacing those that it had there."""

    def of_run(column: str) -> Any:
        row = connection.execute(f"select {column} from runs where run_id = ?", [run_id]).fetchone()
        return row[0] if row else 0

    connection.execute(f"delete from {table} where run_id = ?", [run_id])
    named = found.parameters
    own = named - {"run_id", *LAYERS, *HEADS}
    values = {"run_id": run_id} | {name: of_run(name) for name in own}
    places = [dict[str, int]()]
    if named.issuperset(LAYERS):
        heads_at_once = ROWS_AT_ONCE // max(1, of_run("n_tokens * len(ablations)"))
        n_layers, n_heads = of_run("n_layers"), of_run("n_heads")
        layers = _ranges(LAYERS, n_layers, heads_at_once // max(1, n_heads))
        heads = [*_ranges(HEADS, n_heads, heads_at_once)] if named.issuperset(HEADS) else [{}]
        places = [one | some for one in layers for some in heads]
    # Each insert by itself: of several in one transaction, the first without rows, DuckDB 2.0
    # counts the rows afterwards but does not read them until the file is opened again.
    for place in places:
        connection.execute(f"insert into {table} by name {found.body}", values | place)


def _ranges(names: tuple[str, str], n: int, at_once: int) -> Iterator[dict[str, int]]:
    """The first and last of so many layers or heads, one at least, again and again."""
    at_once = max(1, at_once)
    for first in range(0, n, at_once):
        yield dict(zip(names, (first, min(first + at_once, n) - 1), strict=True))
