"""The clean run: one forward pass per sequence gives three tables."""

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
from selfrepair_assets.assets.resources import WarehouseResource, mistakes_are_not_retried, models
from selfrepair_assets.assets.run_spec import preview_of
from selfrepair_assets.steps import run_steps


@dg.multi_asset(
    specs=[
        dg.AssetSpec(
            table,
            deps=["sequences"],
            group_name="clean_run",
            kinds={"parquet", "torch"},
            description=describe(table),
            metadata=table_schema(table),
        )
        for table in run_steps.CLEAN_TABLES
    ],
    partitions_def=models,
    pool="gpu",
)
def clean_run(
    context: dg.AssetExecutionContext, store: WarehouseResource
) -> Iterator[dg.MaterializeResult]:
    """Measure logits, scales and the direct effect of every head and MLP layer, shard by shard."""
    folder = store.folder(context)
    positions = folder.spec.sequence_length - 1
    work = store.work(context, "clean run", "tokens", folder.spec.n_sequences * positions)
    with mistakes_are_not_retried():
        for shard in folder.shards:
            if not run_steps.measure_clean_shard(folder, shard, work.add):
                work.add((shard.stop - shard.start) * positions)
    work.close()
    for table in run_steps.CLEAN_TABLES:
        rows = run_steps.collect(folder, table)
        files = shard_files(folder.warehouse, table, folder.run_id)
        metadata = row_count(rows) | {"first_rows": preview_of(files)}
        if table == "direct_effects":
            means = mean_by_head(files, "direct_effect")
            metadata["picture"] = heat_map(means, "Mean direct effect (logits)")
        yield dg.MaterializeResult(asset_key=table, metadata=metadata)
