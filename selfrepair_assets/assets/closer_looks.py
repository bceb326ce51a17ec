"""Closer looks at some heads: every neuron of the last MLP layer, and self-reinforcement."""

import dagster as dg

from selfrepair.warehouse.facts.manifest import shard_files
from selfrepair_assets.assets.metadata import describe, row_count, table_schema
from selfrepair_assets.assets.resources import WarehouseResource, mistakes_are_not_retried, models
from selfrepair_assets.assets.run_spec import preview_of
from selfrepair_assets.measurement.engine.bf16_error import LayerPrecision
from selfrepair_assets.steps import ablation_steps, run_steps
from selfrepair_assets.steps.run_folder import RunFolder


@dg.asset(
    partitions_def=models,
    group_name="ablations",
    kinds={"parquet", "torch"},
    deps=["head_ablations"],
    description=describe("neuron_changes"),
    metadata=table_schema("neuron_changes"),
    pool="gpu",
)
def neuron_changes(
    context: dg.AssetExecutionContext, store: WarehouseResource
) -> dg.MaterializeResult:
    folder = store.folder(context)
    with mistakes_are_not_retried():
        rows = ablation_steps.neuron_rows(folder)
        heads = ", ".join(str(head) for head in rows.heads)
        work = store.work(context, f"neurons of {heads}", "shards", len(folder.shards))
        for shard in folder.shards:
            ablation_steps.measure_neuron_shard(folder, shard, rows)
            work.add(1)
    work.close()
    return _collected(folder, "neuron_changes", heads, run_steps.layer_precision(folder))


@dg.asset(
    partitions_def=models,
    group_name="ablations",
    kinds={"parquet", "torch"},
    deps=["direct_effects"],
    description=describe("self_reinforcement"),
    metadata=table_schema("self_reinforcement"),
    pool="gpu",
)
def self_reinforcement(
    context: dg.AssetExecutionContext, store: WarehouseResource
) -> dg.MaterializeResult:
    folder = store.folder(context)
    shards = folder.shards_of("self_reinforcement")
    total = ablation_steps.reinforcement_work(folder, shards)
    work = store.work(context, "self-reinforcement", "head-tokens", total)
    with mistakes_are_not_retried():
        for shard in shards:
            if not ablation_steps.measure_reinforcement_shard(folder, shard, work.add):
                work.add(ablation_steps.reinforcement_work(folder, [shard]))
    work.close()
    return _collected(folder, "self_reinforcement", f"{len(shards)} shards")


def _collected(
    folder: RunFolder, table: str, what: str, precision: LayerPrecision | None = None
) -> dg.MaterializeResult:
    with mistakes_are_not_retried():
        rows = run_steps.collect(folder, table, precision)
    files = shard_files(folder.warehouse, table, folder.run_id)
    return dg.MaterializeResult(
        metadata=row_count(rows) | {"what": what, "first_rows": preview_of(files)}
    )
