"""`head_ablations` and the details of its top rows: plan the shards, measure each, collect them.

In one process the shards are planned one by one; workers get all of them at once, and share them
out. A shard that is on disk is not planned again, unless a layer has gone back to fp32 since
(`steps/precision.py`): such shards are measured anew at the end.
"""

from collections import Counter
from collections.abc import Iterator

import dagster as dg

from selfrepair_assets.assets.measuring import collected, measure_missing
from selfrepair_assets.assets.metadata import describe, heat_map, mean_by_head, table_schema
from selfrepair_assets.assets.resources import (
    WarehouseResource,
    hiccups_are_retried,
    mistakes_are_not_retried,
    models,
)
from selfrepair_assets.steps.head_ablations import HEAD_ABLATIONS, keep_top_rows
from selfrepair_assets.steps.precision import layer_precision, precision_work, withdraw_superseded
from selfrepair_assets.steps.sharded.shards import Shard
from selfrepair_assets.steps.sharded.step import in_this_process

SELF_REPAIR = "self_repaired(logit_change, direct_effect, direct_effect_ablated)"


@dg.op(ins={"direct_effects": dg.In(dg.Nothing)}, out=dg.DynamicOut(list), pool="gpu")
def plan_shards(
    context: dg.OpExecutionContext, store: WarehouseResource
) -> Iterator[dg.DynamicOutput[list[list[int]]]]:
    """The shards that are still to be measured; chooses each layer's precision first."""
    folder = store.folder(context)
    with mistakes_are_not_retried():
        kept = keep_top_rows(folder)
    context.log.info(f"{kept:,} top rows, of which the details are kept")
    if folder.spec.precision != "fp32":
        total = precision_work(folder)
        work = store.work(context, "choose precision", "head-tokens", total)
        with mistakes_are_not_retried():
            layers = layer_precision(folder, work.add).layers
            withdraw_superseded(folder)
        work.close()
        counts = ", ".join(f"{n} in {precision}" for precision, n in Counter(layers).items())
        context.log.info(f"layers by precision: {counts}")
    missing = HEAD_ABLATIONS.left(folder)
    context.log.info(
        f"{len(folder.shards) - len(missing)} of {len(folder.shards)} shards are there"
    )
    if not missing:
        return
    with mistakes_are_not_retried():
        one_by_one = store.executor(folder) is in_this_process
    for group in [[shard] for shard in missing] if one_by_one else [missing]:
        first = str(group[0]).replace("-", "_")
        yield dg.DynamicOutput([[s.start, s.stop] for s in group], mapping_key=first)


@dg.op(pool="gpu")
def measure_shard(
    context: dg.OpExecutionContext, store: WarehouseResource, shards: list[list[int]]
) -> int:
    """Ablate every chosen head over some shards' sequences; returns their head-tokens."""
    with hiccups_are_retried():
        return measure_missing(context, store, HEAD_ABLATIONS, [Shard(*shard) for shard in shards])


@dg.op(pool="gpu")
def measure_anew(
    context: dg.OpExecutionContext, store: WarehouseResource, measured: list[int]
) -> int:
    """Measure the shards anew in which a layer was in a precision that it has left since.

    All shards have been watched by now, so that no layer will leave it any more. Returns the
    head-tokens that were measured in all.
    """
    with hiccups_are_retried():
        withdraw_superseded(store.folder(context))
        return sum(measured) + measure_missing(context, store, HEAD_ABLATIONS)


@dg.op(out={table: dg.Out(dg.Nothing) for table in HEAD_ABLATIONS.tables})
def collect_shards(
    context: dg.OpExecutionContext, store: WarehouseResource, measured: int
) -> Iterator[dg.Output[None]]:
    """Name all shards in the manifests, which makes them the tables."""
    folder = store.folder(context)
    store.close_work(context)
    precision = layer_precision(folder)
    for table in HEAD_ABLATIONS.tables:
        metadata = collected(folder, table, precision)
        if table == "head_ablations":
            files = folder.table(table).files()
            means = mean_by_head(files, SELF_REPAIR, "self_repaired")
            caption = "Mean self-repair over all tokens (logits)"
            metadata |= {"measured_now": measured, "picture": heat_map(means, caption)}
        yield dg.Output(None, table, metadata=metadata)


@dg.graph_multi_asset(
    name="ablate_heads",
    group_name="ablations",
    partitions_def=models,
    ins={"direct_effects": dg.AssetIn("direct_effects", dagster_type=dg.Nothing)},
    outs={
        table: dg.AssetOut(
            dagster_type=dg.Nothing,
            kinds={"parquet", "torch"},
            description=describe(table),
            metadata=table_schema(table),
        )
        for table in HEAD_ABLATIONS.tables
    },
)
def head_ablations(direct_effects):  # type: ignore[no-untyped-def]
    measured = plan_shards(direct_effects).map(measure_shard).collect()
    outputs = collect_shards(measure_anew(measured))
    return {table: getattr(outputs, table) for table in HEAD_ABLATIONS.tables}
