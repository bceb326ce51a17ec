"""`head_ablations`: plan the shards, measure each by itself, collect them.

The same graph runs in one process on one machine, shard after shard with the model loaded once,
and under a cluster's executor with a shard a worker. A shard that is on disk is not planned again.
"""

from collections.abc import Iterator

import dagster as dg

from selfrepair_assets import steps
from selfrepair_assets.assets.metadata import (
    describe,
    heat_map,
    mean_by_head,
    row_count,
    table_schema,
)
from selfrepair_assets.assets.resources import WarehouseResource, mistakes_are_not_retried, models
from selfrepair_assets.run_folder import Shard
from warehouse.manifest import shard_files

TITLE = "head ablations"


@dg.op(ins={"direct_effects": dg.In(dg.Nothing)}, out=dg.DynamicOut(list), pool="gpu")
def plan_shards(
    context: dg.OpExecutionContext, store: WarehouseResource
) -> Iterator[dg.DynamicOutput[list[int]]]:
    """One output per shard that is still to be measured; chooses each layer's precision first."""
    folder = store.folder(context)
    missing = [s for s in folder.shards if not steps.ablation_shard_done(folder, s)]
    context.log.info(f"{len(folder.shards) - len(missing)} of {len(folder.shards)} shards are there")
    with mistakes_are_not_retried():
        precision = steps.layer_precision(folder)
    if folder.spec.precision != "fp32":
        fast = precision["layer_precision"].count("bf16")
        context.log.info(f"{fast} of {len(precision['layer_precision'])} layers are measured in bf16")
    for shard in missing:
        yield dg.DynamicOutput([shard.start, shard.stop], mapping_key=str(shard).replace("-", "_"))


@dg.op(pool="gpu", retry_policy=dg.RetryPolicy(max_retries=2, delay=5))
def measure_shard(
    context: dg.OpExecutionContext, store: WarehouseResource, shard: list[int]
) -> int:
    """Ablate every chosen head over one shard's sequences; returns its head-tokens."""
    folder, this = store.folder(context), Shard(*shard)
    done = [s for s in folder.shards if steps.ablation_shard_done(folder, s)]
    total = steps.head_tokens(folder, folder.shards)
    already = steps.head_tokens(folder, done)
    work = store.work(context, TITLE, "head-tokens", total, already)
    with mistakes_are_not_retried():
        steps.measure_ablation_shard(folder, this, work.add)
    context.log_event(
        dg.AssetObservation(
            "head_ablations",
            partition=context.partition_key,
            metadata={"shard": str(this), "progress": work.line(), "share": work.done / work.total},
        )
    )
    return steps.head_tokens(folder, [this])


@dg.op(out=dg.Out(dg.Nothing))
def collect_shards(
    context: dg.OpExecutionContext, store: WarehouseResource, measured: list[int]
) -> Iterator[dg.Output[None]]:
    """Name all shards in the manifest, which makes them the table."""
    folder = store.folder(context)
    store.close_work(context)
    with mistakes_are_not_retried():
        rows = steps.collect(folder, "head_ablations")
    files = shard_files(folder.warehouse, "head_ablations", folder.run_id)
    repair = mean_by_head(files, "logit_change - (direct_effect_ablated - direct_effect)")
    caption = "Mean self-repair over all tokens (logits)"
    metadata = row_count(rows) | {
        "measured_now": sum(measured),
        "picture": heat_map(repair, caption),
    }
    yield dg.Output(None, metadata=metadata)


@dg.graph_asset(
    name="head_ablations",
    group_name="ablations",
    partitions_def=models,
    kinds={"parquet", "torch"},
    description=describe("head_ablations"),
    metadata=table_schema("head_ablations"),
    ins={"direct_effects": dg.AssetIn("direct_effects", dagster_type=dg.Nothing)},
)
def head_ablations(direct_effects):  # type: ignore[no-untyped-def]
    return collect_shards(plan_shards(direct_effects).map(measure_shard).collect())
