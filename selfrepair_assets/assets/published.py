"""Publishing: the asset `runs`, and every stored result and view as an asset with its lineage."""

from collections.abc import Iterator

import dagster as dg

from selfrepair.warehouse.facts.tables import fact_tables
from selfrepair.warehouse.published.read import open_serving
from selfrepair.warehouse.sql_files import Relation, relations
from selfrepair.warehouse.sql_parsing import literal
from selfrepair_assets.assets.metadata import column_schema, describe, preview, row_count
from selfrepair_assets.assets.resources import WarehouseResource, mistakes_are_not_retried, models
from selfrepair_assets.steps.published import publish_run
from selfrepair_assets.steps.run_spec import forget_model

ANSWERS = {found.name: found for found in relations() if found.kind in ("stored", "view")}
ASSETS = {*fact_tables(), "runs", *ANSWERS}


class PublishConfig(dg.Config):
    """How the facts of a run are published."""

    external: bool = False
    """Leave the facts in their Parquet shards and publish views over them."""
    keep_shards: bool = True
    """Keep the shards once they are in the DuckDB file."""


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
    work = store.work(context, "publish", "%", 100)
    with mistakes_are_not_retried():
        generation = publish_run(
            folder, "external" if config.external else "native", config.keep_shards, work.reach
        )
    store.close_work(context)
    with open_serving(folder.warehouse) as connection:
        this_run = f"select columns(*)::varchar from runs where run_id = {literal(folder.run_id)}"
        row = preview(connection, f"unpivot ({this_run}) on columns(*)", rows=40)
        types = {n: str(t) for n, t, *_ in connection.execute("describe runs").fetchall()}
    return dg.MaterializeResult(
        metadata=row_count(1)
        | column_schema("runs", types)
        | {
            "run": row,
            "file": dg.MetadataValue.path(str(generation.path)),
            "generation": generation.number,
            "bytes": generation.path.stat().st_size,
            "seconds": generation.seconds,
        }
    )


def _spec(found: Relation) -> dg.AssetSpec:
    return dg.AssetSpec(
        found.name,
        deps=sorted({"runs", *_upstream_assets(found)}),
        group_name="views",
        kinds={"duckdb", "sql"},
        description=describe(found.name),
        skippable=True,
    )


def _upstream_assets(found: Relation) -> set[str]:
    """The assets that a relation reads; through a macro, what the macro reads."""
    known = {other.name: other for other in relations()}
    names: set[str] = set()
    for name in found.upstream:
        names |= {name} if name in ASSETS else _upstream_assets(known[name])
    return names


@dg.multi_asset(
    specs=[_spec(found) for found in ANSWERS.values()], partitions_def=models, can_subset=True
)
def views(
    context: dg.AssetExecutionContext, store: WarehouseResource
) -> Iterator[dg.MaterializeResult]:
    """Every analysis as SQL: publishing makes them, this looks at what they say of the run."""
    folder = store.folder(context)
    with open_serving(folder.warehouse) as connection:
        for name in ANSWERS:
            if dg.AssetKey(name) not in context.selected_asset_keys:
                continue
            types = {
                row[0]: str(row[1]) for row in connection.execute(f"describe {name}").fetchall()
            }
            query = f"select * from {name}" + (
                f" where run_id = {literal(folder.run_id)}" if "run_id" in types else ""
            )
            counted = connection.execute(f"select count(*) from ({query})").fetchone()
            yield dg.MaterializeResult(
                asset_key=name,
                metadata=column_schema(name, types)
                | row_count(counted[0] if counted else 0)
                | {"first_rows": preview(connection, query)},
            )
