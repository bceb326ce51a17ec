"""Publishing: the asset `runs`."""

import dagster as dg
import duckdb

from selfrepair.warehouse.facts.tables import fact_tables
from selfrepair.warehouse.published.generations import outside_of
from selfrepair.warehouse.published.read import open_serving
from selfrepair.warehouse.sql_files import relations
from selfrepair.warehouse.sql_parsing import literal
from selfrepair_assets.assets.metadata import column_schema, describe, preview, row_count
from selfrepair_assets.assets.resources import WarehouseResource, mistakes_are_not_retried, models
from selfrepair_assets.steps.published import publish_run
from selfrepair_assets.steps.run_spec import forget_model


class PublishConfig(dg.Config):
    """How the facts of a run are published."""

    keep_shards: bool = True
    """Keep the shards once they are published."""


@dg.asset(
    name="runs",
    partitions_def=models,
    deps=[table for table in fact_tables()],
    group_name="published",
    kinds={"duckdb"},
    description=describe("runs"),
    pool="publish",
)
def runs(
    context: dg.AssetExecutionContext, config: PublishConfig, store: WarehouseResource
) -> dg.MaterializeResult:
    folder = store.folder(context)
    forget_model()
    store.dismiss_workers()
    work = store.work(context, "publish", "%", 100)
    with mistakes_are_not_retried():
        generation = publish_run(folder, config.keep_shards, work.reach)
    store.close_work(context)
    with open_serving(folder.warehouse) as connection:
        this_run = f"select columns(*)::varchar from runs where run_id = {literal(folder.run_id)}"
        row = preview(connection, f"unpivot ({this_run}) on columns(*)", rows=40)
        types = {n: str(t) for n, t, *_ in connection.execute("describe runs").fetchall()}
        stored = _stored_results(connection, folder.run_id)
    return dg.MaterializeResult(
        metadata=row_count(1)
        | column_schema("runs", types)
        | {
            "run": row,
            "stored_results": stored,
            "file": dg.MetadataValue.path(str(generation.path)),
            "generation": generation.number,
            "bytes": generation.path.stat().st_size,
            "bytes_outside": sum(path.stat().st_size for path in outside_of(generation.path)),
            "seconds": generation.seconds,
        }
    )


def _stored_results(connection: duckdb.DuckDBPyConnection, run_id: str) -> dg.MarkdownMetadataValue:
    """How many rows each stored result has of a run."""
    counts = " union all ".join(
        f"select '{found.name}' as stored_result, count(*) as rows from {found.name} "
        f"where run_id = {literal(run_id)}"
        for found in relations()
        if found.kind == "stored"
    )
    return preview(connection, f"{counts} order by all", rows=100)
