"""`head_ablations` and the details of its top rows: plan the shards, measure each, collect them.

The same graph runs in one process on one machine, shard after shard with the model loaded once,
and under a cluster's executor with a shard a worker. A shard that is on disk is not planned again,
unless a layer has left bf16 since (`precision_steps`): such shards are measured anew at the end.
"""

from collections.abc import Iterator

import dagster as dg

from selfrepair.warehouse.facts.manifest import shard_files
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
from selfrepair_assets.steps import ablation_steps, precision_steps, run_steps
from selfrepair_assets.steps.run_folder import RunFolder, Shard

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
    if folder.spec.precision != "fp32":
        total = run_steps.precision_work(folder)
        work = store.work(context, "choose precision", "head-tokens", total)
        with mistakes_are_not_retried():
            layers = run_steps.layer_precision(folder, work.add).layers
            precision_steps.withdraw_superseded(folder)
        work.close()
        context.log.info(f"{layers.count('bf16')} of {len(layers)} layers are measured in bf16")
    missing = ablation_steps.missing_shards(folder)
    context.log.info(
        f"{len(folder.shards) - len(missing)} of {len(folder.shards)} shards are there"
    )
    for shard in missing:
        yield dg.DynamicOutput([shard.start, shard.stop], mapping_key=str(shard).replace("-", "_"))


@dg.op(pool="gpu")
def measure_shard(
    context: dg.OpExecutionContext, store: WarehouseResource, shard: list[int]
) -> int:
    """Ablate every chosen head over one shard's sequences; returns its head-tokens."""
    folder, this = store.folder(context), Shard(*shard)
    _measure(context, store, folder, this)
    return ablation_steps.head_tokens(folder, [this])


@dg.op(pool="gpu")
def measure_anew(
    context: dg.OpExecutionContext, store: WarehouseResource, measured: list[int]
) -> int:
    """Measure the shards anew in which a layer was in bf16 that has left it since.

    All shards have been watched by now, so that no layer will leave it any more. Returns the
    head-tokens that were measured in all.
    """
    folder = store.folder(context)
    with mistakes_are_not_retried():
        precision_steps.withdraw_superseded(folder)
    anew = ablation_steps.missing_shards(folder)  # also what a retry of this step finds left
    for shard in anew:
        _measure(context, store, folder, shard)
    return sum(measured) + ablation_steps.head_tokens(folder, anew)


def _measure(
    context: dg.OpExecutionContext, store: WarehouseResource, folder: RunFolder, shard: Shard
) -> None:
    """Measure one shard, and show how far the run is then."""
    left = ablation_steps.head_tokens(folder, ablation_steps.missing_shards(folder))
    total = ablation_steps.head_tokens(folder, folder.shards)
    work = store.work(context, TITLE, "head-tokens", total, total - left)
    work.expect(left)
    with hiccups_are_retried():
        ablation_steps.measure_ablation_shard(folder, shard, work.add)
    context.log_event(
        dg.AssetObservation(
            "head_ablations",
            partition=context.partition_key,
            metadata={
                "shard": str(shard),
                "progress": work.line(),
                "share": work.done / work.total,
            },
        )
    )


@dg.op(out={table: dg.Out(dg.Nothing) for table in ablation_steps.ABLATION_TABLES})
def collect_shards(
    context: dg.OpExecutionContext, store: WarehouseResource, measured: int
) -> Iterator[dg.Output[None]]:
    """Name all shards in the manifests, which makes them the tables."""
    folder = store.folder(context)
    store.close_work(context)
    precision = run_steps.layer_precision(folder)
    for table in ablation_steps.ABLATION_TABLES:
        with mistakes_are_not_retried():
            rows = run_steps.collect(folder, table, precision)
        files = shard_files(folder.warehouse, table, folder.run_id)
        metadata = row_count(rows) | {"first_rows": preview_of(files)}
        if table == "head_ablations":
            means = mean_by_head(files, SELF_REPAIR)
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
        for table in ablation_steps.ABLATION_TABLES
    },
)
def head_ablations(direct_effects):  # type: ignore[no-untyped-def]
    measured = plan_shards(direct_effects).map(measure_shard).collect()
    outputs = collect_shards(measure_anew(measured))
    return {table: getattr(outputs, table) for table in ablation_steps.ABLATION_TABLES}
