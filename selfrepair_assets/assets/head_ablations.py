"""`head_ablations` and the details of its top rows: plan the shards, measure each, collect them.

The same graph runs in one process on one machine, shard after shard with the model loaded once,
and under a cluster's executor with a shard a worker. A shard that is on disk is not planned again.
"""

from collections.abc import Iterator

import dagster as dg

from selfrepair_assets import ablation_steps, steps
from selfrepair_assets.assets.metadata import (
    describe,
    heat_map,
    mean_by_head,
    row_count,
    table_schema,
)
from selfrepair_assets.assets.resources import (
    WarehouseResource,
    hiccups_are_retried,
    mistakes_are_not_retried,
    models,
)
from selfrepair_assets.assets.run_spec import preview_of
from selfrepair_assets.run_folder import Shard
from warehouse.manifest import shard_files

TITLE = "head ablations"
SELF_REPAIR = "logit_change - (direct_effect_ablated - direct_effect)"  # eq. (1), for the picture


@dg.op(ins={"direct_effects": dg.In(dg.Nothing)}, out=dg.DynamicOut(list), pool="gpu")
def plan_shards(
    context: dg.OpExecutionContext, store: WarehouseResource
) -> Iterator[dg.DynamicOutput[list[int]]]:
    """One output per shard that is still to be measured; chooses each layer's precision first."""
    folder = store.folder(context)
    with mistakes_are_not_retried():
        kept = ablation_steps.keep_top_rows(folder)
    context.log.info(f"{kept:,} top rows, of which the details are kept")
    missing = [s for s in folder.shards if not ablation_steps.ablation_shard_done(folder, s)]
    context.log.info(
        f"{len(folder.shards) - len(missing)} of {len(folder.shards)} shards are there"
    )
    if folder.spec.precision != "fp32":
        total = steps.precision_work(folder)
        work = store.work(context, "choose precision", "head-tokens", total)
        with mistakes_are_not_retried():
            chosen = steps.layer_precision(folder, work.add)["layer_precision"]
        work.close()
        context.log.info(f"{chosen.count('bf16')} of {len(chosen)} layers are measured in bf16")
    for shard in missing:
        yield dg.DynamicOutput([shard.start, shard.stop], mapping_key=str(shard).replace("-", "_"))


@dg.op(pool="gpu")
def measure_shard(
    context: dg.OpExecutionContext, store: WarehouseResource, shard: list[int]
) -> int:
    """Ablate every chosen head over one shard's sequences; returns its head-tokens."""
    folder, this = store.folder(context), Shard(*shard)
    done = [s for s in folder.shards if ablation_steps.ablation_shard_done(folder, s)]
    total = ablation_steps.head_tokens(folder, folder.shards)
    already = ablation_steps.head_tokens(folder, done)
    work = store.work(context, TITLE, "head-tokens", total, already)
    with hiccups_are_retried():
        ablation_steps.measure_ablation_shard(folder, this, work.add)
    context.log_event(
        dg.AssetObservation(
            "head_ablations",
            partition=context.partition_key,
            metadata={"shard": str(this), "progress": work.line(), "share": work.done / work.total},
        )
    )
    return ablation_steps.head_tokens(folder, [this])


@dg.op(out={table: dg.Out(dg.Nothing) for table in ablation_steps.ABLATION_TABLES})
def collect_shards(
    context: dg.OpExecutionContext, store: WarehouseResource, measured: list[int]
) -> Iterator[dg.Output[None]]:
    """Name all shards in the manifests, which makes them the tables."""
    folder = store.folder(context)
    store.close_work(context)
    for table in ablation_steps.ABLATION_TABLES:
        with mistakes_are_not_retried():
            rows = steps.collect(folder, table)
        files = shard_files(folder.warehouse, table, folder.run_id)
        metadata = row_count(rows) | {"first_rows": preview_of(files)}
        if table == "head_ablations":
            means = mean_by_head(files, SELF_REPAIR)
            caption = "Mean self-repair over all tokens (logits)"
            metadata |= {"measured_now": sum(measured), "picture": heat_map(means, caption)}
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
        for table in ablation_steps.ABLATION_TABLES
    },
)
def head_ablations(direct_effects):  # type: ignore[no-untyped-def]
    outputs = collect_shards(plan_shards(direct_effects).map(measure_shard).collect())
    return {table: getattr(outputs, table) for table in ablation_steps.ABLATION_TABLES}
