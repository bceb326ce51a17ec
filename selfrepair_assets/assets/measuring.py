"""The loop that all assets share which are measured shard by shard."""

from collections.abc import Sequence
from typing import Any

import dagster as dg

from selfrepair_assets.assets.metadata import preview_of, row_count
from selfrepair_assets.assets.parts import publish_part_if_due
from selfrepair_assets.assets.resources import WarehouseResource, mistakes_are_not_retried
from selfrepair_assets.measurement.engine.fast_error import LayerPrecision
from selfrepair_assets.steps.sharded.run_folder import RunFolder
from selfrepair_assets.steps.sharded.shards import Shard
from selfrepair_assets.steps.sharded.step import Step
from selfrepair_assets.steps.sharded.stored_shards import collect
from selfrepair_assets.steps.until import stop_if_sure


def measure_missing(
    context: Any,
    store: WarehouseResource,
    step: Step,
    only: Sequence[Shard] | None = None,
) -> int:
    """Measure the shards of a step that are missing, of `only` these; returns their work.

    Shows how far the step is on the way: as a bar or lines of the log, and, after each shard, as an
    observation of the step's first table. A part of the run is published now and then.
    """
    folder = store.folder(context)
    missing = step.left(folder)
    left, total = (
        step.work(folder, shards) for shards in (missing, folder.shards_of(step.tables[0]))
    )
    work = store.work(context, step.title, step.unit, total, total - left)
    work.expect(left)
    asked = [shard for shard in missing if only is None or shard in only]
    if not asked:
        return 0  # workers take some seconds to come
    for shard in store.executor(folder)(step, folder, asked, work.add):
        context.log_event(
            dg.AssetObservation(
                step.tables[0],
                partition=context.partition_key,
                metadata={
                    "shard": str(shard),
                    "progress": work.line(),
                    "share": work.done / work.total,
                },
            )
        )
        if step.is_run:
            how_far = stop_if_sure(folder)
            if how_far:
                work.say(how_far)
            if folder.stopped_at is not None:
                break
            publish_part_if_due(context, folder, work)
    return step.work(folder, asked)


def collected(
    folder: RunFolder, table: str, precision: LayerPrecision | None = None
) -> dict[str, Any]:
    """Name a table's shards in its manifest, which makes them the table; what is shown of it."""
    with mistakes_are_not_retried():
        rows = collect(folder, table, precision)
    files = folder.table(table).files()
    return row_count(rows) | {"first_rows": preview_of(files)}
