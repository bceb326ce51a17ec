"""Which rows of a run the details are measured at, asked of its shards before they are published.

The SQL is that of the published warehouse (`sql/macros/top_places_at.sql` and its siblings), so
that what is measured is what the views later take for the top rows. Each question is asked layer
by layer, or head by head: memory is bounded by one layer's rows of one column.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from selfrepair.warehouse.connection import Connection, working_connection
from selfrepair.warehouse.errors import one_clear_line
from selfrepair.warehouse.facts.run_table import RunTable
from selfrepair.warehouse.facts.shard_views import parquet
from selfrepair.warehouse.paths import Warehouse
from selfrepair.warehouse.sql_files import relation
from selfrepair.warehouse.sql_parsing import literal

PLACE = ("layer", "head", "sequence", "position")

Places = dict[str, NDArray[Any]]
"""Columns of equal length that name rows, such as layer, head, sequence and position."""

RUN_COLUMNS = {
    "run_id": "varchar",
    "n_layers": "integer",
    "parallel_attention": "boolean",
    "heads": "varchar[]",
    "top_fraction": "double",
}
"""What the questions below need of the run's row of `runs`; it may have more."""


def top_rows(warehouse: Warehouse, run: Mapping[str, Any], layer: int | None = None) -> Places:
    """The top rows of every ablated head by direct effect: layer, head, sequence, position.

    They are the floor(top_fraction * N) largest of a head's N rows (paper, section 2.2), the same
    for every ablation, sorted by layer, head, sequence and position.

    run: the run's row of `runs`, or as much of it as `RUN_COLUMNS` names.
    layer: only this layer's heads.
    Raises WarehouseError where direct_effects is not measured to the end.
    """
    layers = range(run["n_layers"]) if layer is None else [layer]
    query = (
        f"select {', '.join(PLACE)} from top_places_at($top_fraction) where layer = $layer"
        " order by all"
    )
    with _facts_of(warehouse, "direct_effects", run, "top_places_at") as connection:
        asked = [{"top_fraction": run["top_fraction"], "layer": here} for here in layers]
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


@lru_cache(maxsize=4096)  # a shard does not change
def repair_at_top_rows(facts: Path, details: Path) -> Places:
    """The top rows of a shard with their direct effect and self-repair (logits).

    facts, details: its files of head_ablations and component_changes, which has the top rows only.
    """
    query = """
        select
            ablation::varchar as ablation,
            layer,
            head,
            sequence,
            position,
            direct_effect::double as direct_effect,
            self_repaired(logit_change, direct_effect, direct_effect_ablated) as self_repair
        from read_parquet($facts) as facts
        semi join read_parquet($details) as details
            using (ablation, layer, head, sequence, position)
        """
    with duckdb.connect() as connection:
        connection.execute(relation("self_repaired").body)
        return _asked(connection, query, {"facts": str(facts), "details": str(details)})


def repair_errors(rows: Places, n_clusters: int) -> Places:
    """Of each head and ablation: n, mean direct effect, and the error of mean self-repair (logits).

    m = sum x / n, i_g = sum over rows i in g of (x_i - m) / n, and `standard_error` of all i_g.

    rows: ablation, layer, head, cluster, direct_effect, self_repair, of given rows; clusters are
        numbered from 0.
    n_clusters: G, those without a row included, whose influence is 0.
    """
    query = """
        with

        means as (
            select
                ablation,
                layer,
                head,
                count(*) as n,
                avg(direct_effect) as direct_effect,
                avg(self_repair) as self_repair
            from given
            group by all
        ),

        influences as (
            select
                ablation,
                layer,
                head,
                cluster,
                sum(given.self_repair - means.self_repair) / any_value(n) as influence
            from given
            join means using (ablation, layer, head)
            group by all
        )

        select
            ablation,
            layer,
            head,
            n,
            direct_effect,
            standard_error(coalesce(influence, 0)) as self_repair_se
        from means
        cross join range($n_clusters) as clusters (cluster)
        left join influences using (ablation, layer, head, cluster)
        group by all
        order by all
        """
    with duckdb.connect() as connection:
        connection.execute(relation("standard_error").body)
        connection.register("given", pa.table(rows))
        return _asked(connection, query, {"n_clusters": n_clusters})


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
