"""The clean run: one forward pass per sequence gives three tables."""

from collections.abc import Iterator

import dagster as dg

from selfrepair_assets.assets.measuring import collected, measure_missing
from selfrepair_assets.assets.metadata import describe, heat_map, mean_by_head, table_schema
from selfrepair_assets.assets.resources import WarehouseResource, mistakes_are_not_retried, models
from selfrepair_assets.steps.clean_run import CLEAN_RUN


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
        for table in CLEAN_RUN.tables
    ],
    partitions_def=models,
    pool="gpu",
)
def clean_run(
    context: dg.AssetExecutionContext, store: WarehouseResource
) -> Iterator[dg.MaterializeResult]:
    """Measure logits, scales and the direct effect of every head and MLP layer, shard by shard."""
    folder = store.folder(context)
    with mistakes_are_not_retried():
        measure_missing(context, store, CLEAN_RUN)
    store.close_work(context)
    for table in CLEAN_RUN.tables:
        metadata = collected(folder, table)
        if table == "direct_effects":
            files = folder.table(table).files()
            means = mean_by_head(files, "direct_effect")
            metadata["picture"] = heat_map(means, "Mean direct effect (logits)")
        yield dg.MaterializeResult(asset_key=table, metadata=metadata)
