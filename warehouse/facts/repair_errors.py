"""How sure mean self-repair is while a run is measured: the published error, of its first shards.

`repair_above` reads each shard once, `repair_errors` is asked of all that there are.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from numpy.typing import NDArray

from selfrepair.warehouse.facts.top_rows import Floors, Places
from selfrepair.warehouse.sql_files import relation


@lru_cache(maxsize=4096)  # a shard does not change
def repair_above(facts: Path, floors: Floors) -> pa.Table:
    """A shard's rows above the floors, with their direct effect and self-repair (logits).

    In Arrow's columns, some 30 bytes a row: those of a whole run are in memory at its end.

    facts: its file of head_ablations. floors: of `effect_floors`.
    """
    query = """
        select
            ablation::varchar as ablation,
            layer,
            head,
            sequence,
            position,
            direct_effect,
            self_repaired(logit_change, direct_effect, direct_effect_ablated)::real as self_repair
        from read_parquet($facts)
        join floors using (layer, head)
        where direct_effect >= floor
        """
    with duckdb.connect() as connection:
        connection.execute(relation("self_repaired").body)
        columns = [list(column) for column in zip(*floors, strict=True)]
        connection.register("floors", pa.table(columns, names=["layer", "head", "floor"]))
        return connection.sql(query, params={"facts": str(facts)}).to_arrow_table()


def repair_errors(rows: pa.Table, counts: NDArray[Any], top_fraction: float) -> Places:
    """Of each head and ablation: n, mean direct effect, and the error of mean self-repair (logits).

    Of its top rows, as `head_means` has it: `influence` with the mean at the cut, and
    `standard_error` of all clusters (specification, section 6).

    rows: ablation, layer, head, sequence, position, cluster, direct_effect, self_repair, of at
        least one and a half times as many rows as are kept; clusters are numbered from 0.
    counts: N_g, how many rows of a head each cluster has in all.
    """
    query = """
        with

        ranked as (
            select
                *,
                row_number() over (
                    partition by ablation, layer, head
                    order by direct_effect desc, sequence, position
                ) as rank
            from given
        ),

        heads as (
            select
                ablation,
                layer,
                head,
                avg(direct_effect::double) filter (where rank <= $kept) as direct_effect,
                avg(self_repair::double) filter (
                    where rank > $kept - $reach and rank <= $kept + $reach
                ) as at_cut
            from ranked
            group by all
        ),

        totals as (
            select
                ablation,
                layer,
                head,
                cluster,
                tally(self_repair) as t
            from ranked
            where rank <= $kept
            group by all
        ),

        sums as (
            select
                ablation,
                layer,
                head,
                tally_sum(t) as of_head
            from totals
            group by all
        )

        select
            ablation,
            layer,
            head,
            any_value(of_head.n) as n,
            any_value(heads.direct_effect) as direct_effect,
            standard_error(influence(t, of_head, at_cut, n_all, $n_all)) as self_repair_se
        from heads
        join sums using (ablation, layer, head)
        cross join counts
        left join totals using (ablation, layer, head, cluster)
        group by all
        order by all
        """
    n_all = int(counts.sum())
    kept = int(top_fraction * n_all + 1e-9)
    with duckdb.connect() as connection:
        for name in ("standard_error", "influence", "tally", "tally_sum"):
            connection.execute(relation(name).body)
        connection.register("given", rows)
        connection.register("counts", pa.table({"cluster": range(len(counts)), "n_all": counts}))
        values = {"kept": kept, "reach": max(10.0, kept / 2), "n_all": n_all}
        return dict(connection.execute(query, values).fetchnumpy())
