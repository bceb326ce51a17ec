"""Closer looks at some heads: every neuron of the last MLP layer, and self-reinforcement."""

import dagster as dg

from selfrepair_assets.assets.measuring import collected, measure_missing
from selfrepair_assets.assets.metadata import describe, table_schema
from selfrepair_assets.assets.resources import WarehouseResource, mistakes_are_not_retried, models
from selfrepair_assets.steps.neuron_changes import neuron_changes as neuron_step
from selfrepair_assets.steps.precision import layer_precision
from selfrepair_assets.steps.self_reinforcement import SELF_REINFORCEMENT


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
        step = neuron_step(folder)
        measure_missing(context, store, step)
    store.close_work(context)
    shown = collected(folder, "neuron_changes", layer_precision(folder))
    return dg.MaterializeResult(metadata=shown | {"what": step.title})


@dg.asset(
    partitions_def=models,
    group_name="ablations",
    kinds={"parquet", "torch"},
    deps=["direct_effects"],
    description=describe("self_reinforcement"),
    metadata=table_schema("self_reinforcement"),
    pool="gpu",
    op_tags={"dagster/priority": "-1"},  # after the heads, whose first shards are published
)
def self_reinforcement(
    context: dg.AssetExecutionContext, store: WarehouseResource
) -> dg.MaterializeResult:
    folder = store.folder(context)
    with mistakes_are_not_retried():
        measure_missing(context, store, SELF_REINFORCEMENT)
    store.close_work(context)
    shown = collected(folder, "self_reinforcement")
    return dg.MaterializeResult(metadata=shown)
