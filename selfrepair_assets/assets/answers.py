"""Stored results and views as assets that are looked at, with lineage and columns, and never run.

Publishing (the asset `runs`) makes the stored results, and a view is computed when it is asked:
none is a step of its own.
"""

from functools import cache

import dagster as dg
import duckdb

from selfrepair.warehouse.facts.tables import fact_tables
from selfrepair.warehouse.sql_created import create_all
from selfrepair.warehouse.sql_files import Relation, relations
from selfrepair_assets.assets.metadata import column_schema, describe

GROUPS = {"stored": "stored_results", "view": "views"}


@cache
def answers() -> tuple[dg.AssetSpec, ...]:
    """Every stored result and view; its types are what DuckDB makes of its query."""
    found = {one.name: one for one in relations() if one.kind in GROUPS}
    known = {*fact_tables(), "runs", *found}
    with duckdb.connect() as connection:
        create_all(connection, comments=False)
        types = {
            name: {row[0]: str(row[1]) for row in connection.execute(f"describe {name}").fetchall()}
            for name in found
        }
    return tuple(_spec(one, types[name], known) for name, one in found.items())


def _spec(found: Relation, types: dict[str, str], known: set[str]) -> dg.AssetSpec:
    return dg.AssetSpec(
        found.name,
        deps=sorted({"runs", *_upstream_assets(found, known)}),
        group_name=GROUPS[found.kind],
        kinds={"duckdb", "sql"},
        description=describe(found.name),
        metadata=column_schema(found.name, types),
    )


def _upstream_assets(found: Relation, known: set[str]) -> set[str]:
    """The assets that a relation reads; through a macro, what the macro reads."""
    others = {other.name: other for other in relations()}
    names: set[str] = set()
    for name in found.upstream:
        names |= {name} if name in known else _upstream_assets(others[name], known)
    return names
