"""Which rows of a run the details are measured at, asked of its shards before they are published.

The SQL is that of the published warehouse (`sql/macros/top_places_at.sql` and its siblings), so
that what is measured is what the views later take for the top rows. Each question is asked of some
layers at a time (`layers_together.py`), or head by head: memory is bounded by the rows of these.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfrepair.warehouse.connection import Connection, working_connection
from selfrepair.warehouse.errors import one_clear_line
from selfrepair.warehouse.facts.run_table import RunTable
from selfrepair.warehouse.facts.shard_views import parquet
from selfrepair.warehouse.layers_together import LAYERS, taken_together
from selfrepair.warehouse.paths import Warehouse
from selfrepair.warehouse.sql_files import relation
from selfrepair.warehouse.sql_parsing import literal

PLACE = ("layer", "head", "sequence", "position")

Places = dict[str, NDArray[Any]]
"""Columns of equal length that name rows, such as layer, head, sequence and position."""

Floors = tuple[tuple[int, int, float], ...]
"""Of each head: layer, head, and a direct effect."""
REACH = 3
"""Times as many rows as are kept: in a part of the run more than the 1.5 that are ranked."""

RUN_COLUMNS = {
    "run_id": "varchar",
    "n_layers": "integer",
    "n_heads": "integer",
    "parallel_attention": "boolean",
    "heads": "varchar[]",
    "top_fraction": "double",
}
"""What the questions below need of the run's row of `runs`; it may have more."""


def top_rows(warehouse: Warehouse, run: Mapping[str, Any]) -> Places:
    """The top rows of every ablated head by direct effect: layer, head, sequence, position.

    They are the floor(top_fraction * N) largest of a head's N rows (paper, section 2.2), the same
    for every ablation, sorted by layer, head, sequence and position.

    run: the run's row of `runs`, or as much of it as `RUN_COLUMNS` names.
    Raises WarehouseError where direct_effects is not measured to the end.
    """
    query = (
        f"select {', '.join(PLACE)} from top_places_at($top_fraction)"
        " where layer between $first_layer and $last_layer order by all"
    )
    with _facts_of(warehouse, "direct_effects", run, "top_places_at") as connection:
        fraction = {"top_fraction": run["top_fraction"]}
        asked = [fraction | layers for layers in _layers(warehouse, run)]
        return _joined(PLACE, (_asked(connection, query, values) for values in asked))


def top_rows_by_mlp_repair(
    warehouse: Warehouse,
    run: Mapping[str, Any],
    heads: Sequence[tuple[int, int]],
    part: int | None = None,
) -> Places:
    """The top rows of some heads by the last MLP layer's self-repair (Fig. 7, section 4.2.2).

    Columns ablation, layer, head, sequence, position, sorted by them; each ablation has its own
    rows.

    heads: (layer, head) of each.
    part: how many of the run's first sequences are ranked; None: all.
    Raises WarehouseError where head_ablations is not measured to the end.
    """
    macro, names = "top_places_by_mlp_repair_at", ("ablation", *PLACE)
    query = (
        f"select {', '.join(names)} from {macro}($top_fraction)"
        " where layer = $layer and head = $head"
    )
    with _facts_of(warehouse, "head_ablations", run, macro, part) as connection:
        asked = [
            {"top_fraction": run["top_fraction"], "layer": layer, "head": head}
            for layer, head in sorted(set(heads))
        ]
        found = _joined(names, (_asked(connection, query, values) for values in asked))
    order = np.lexsort([found[name] for name in reversed(names)])
    return {name: column[order] for name, column in found.items()}


def most_direct_heads(
    warehouse: Warehouse, run: Mapping[str, Any], n: int = 4
) -> list[tuple[int, int]]:
    """The n ablated heads of largest mean direct effect before the last MLP layer (section 4.2).

    As (layer, head), the largest first; fewer where there are not so many. In a parallel model the
    heads of the last layer are none of them: its MLP layer does not read what they write.
    Raises WarehouseError where direct_effects is not measured to the end.
    """
    with _facts_of(warehouse, "direct_effects", run, "most_direct_heads") as connection:
        rows = connection.execute("select layer, head from most_direct_heads($1)", [n]).fetchall()
    return [(layer, head) for layer, head in rows]


def effect_floors(warehouse: Warehouse, run: Mapping[str, Any]) -> Floors:
    """Of each head, the direct effect that REACH times as many of its rows have as are kept.

    Over the whole run, so that in any part of it enough rows lie above, to be ranked there.
    Raises WarehouseError where direct_effects is not measured to the end.
    """
    query = """
        select
            layer,
            head,
            least(
                quantile_disc(direct_effect, greatest(0, 1 - $reach * $fraction)),
                list_min(max(direct_effect, 100))
            ) as floor
        from direct_effects
        where layer between $first_layer and $last_layer
        group by all
        order by all
        """
    with _facts_of(warehouse, "direct_effects", run, "top_places_at") as connection:
        values = {"reach": REACH, "fraction": run["top_fraction"]}
        found = [
            connection.execute(query, values | layers).fetchall()
            for layers in _layers(warehouse, run)
        ]
    return tuple(itertools.chain.from_iterable(found))


def _layers(warehouse: Warehouse, run: Mapping[str, Any]) -> list[dict[str, int]]:
    """The layers that a query of direct_effects takes together."""
    n_rows = RunTable(warehouse, "direct_effects", str(run["run_id"])).row_count()
    return taken_together(LAYERS, run["n_layers"], 1, n_rows // run["n_layers"])


@contextmanager
def _facts_of(
    warehouse: Warehouse,
    table: str,
    run: Mapping[str, Any],
    macro: str,
    part: int | None = None,
) -> Iterator[Connection]:
    """A connection with the run's row, one of its tables over its shards, and a macro over both."""
    run_id = str(run["run_id"])
    files = RunTable(warehouse, table, run_id, part).files()
    warehouse.prepare()
    with one_clear_line(f"rank the rows of {run_id}"), working_connection(warehouse) as connection:
        connection.execute("set parquet_metadata_cache = true")
        columns = ", ".join(f"${name}::{kind} as {name}" for name, kind in RUN_COLUMNS.items())
        row = {name: run[name] for name in RUN_COLUMNS}
        connection.execute(f"create table runs as select {columns}", row)
        connection.execute(
            f"create view {table} as select {literal(run_id)} as run_id, * from {parquet(files)}"
        )
        for name in _macros(macro):
            connection.execute(relation(name).body)
        yield connection


def _macros(name: str) -> list[str]:
    """A macro, after those that it uses."""
    used = [other for other in relation(name).upstream if relation(other).kind == "macro"]
    return [*(each for other in used for each in _macros(other)), name]


def _asked(connection: Connection, query: str, values: Mapping[str, Any]) -> Places:
    return dict(connection.execute(query, dict(values)).fetchnumpy())


def _joined(names: Sequence[str], parts: Iterable[Places]) -> Places:
    """The parts' columns, one after the other; empty ones where there is no part."""
    found = list(parts)
    return {
        name: np.concatenate([part[name] for part in found]) if found else np.empty(0, dtype=int)
        for name in names
    }
