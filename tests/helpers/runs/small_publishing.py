"""A small SQL folder and the ways in which the tests publish with it."""

import importlib.resources
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from selfrepair.warehouse.connection import Connection
from selfrepair.warehouse.paths import Warehouse
from selfrepair.warehouse.published import outside
from selfrepair.warehouse.published.read import open_serving
from tests.helpers.runs.small_run import run_row, write_run

REPAIR = """-- One row per ablated row.
select
    run_id,
    layer,
    logit_change - direct_effect_ablated + direct_effect as self_repair
from head_ablations
"""
BY_LAYER = """-- One row per run and layer.
select
    run_id,
    layer,
    round(avg(self_repair), 4) as self_repair
from self_repair
where run_id = $run_id
group by
    run_id,
    layer
"""
MACRO = """-- One row per layer of a run.
create macro layers_of(run) as table
select *
from by_layer
where run_id = run
"""


def small_sql(source: Path) -> Path:
    """The project's own tables, with one stored result over a view, and a macro over it."""
    with importlib.resources.as_file(importlib.resources.files("selfrepair.sql")) as own:
        shutil.copytree(own / "tables", source / "tables")
        shutil.copy(own / "columns.toml", source)
    for name, text in [
        ("views/self_repair", REPAIR),
        ("stored/by_layer", BY_LAYER),
        ("macros/layers_of", MACRO),
    ]:
        (source / name).parent.mkdir(exist_ok=True)
        (source / f"{name}.sql").write_text(text)
    return source


def measured(warehouse: Warehouse, run_id: str = "toy", **changes: Any) -> dict[str, Any]:
    row = run_row(run_id, **changes)
    write_run(warehouse, row)
    return row


def contents(warehouse: Warehouse, *without: str) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all relations, sorted, but for what says when they were published."""
    with open_serving(warehouse) as connection:
        names = [row[0] for row in connection.execute("show tables").fetchall()]
        return {
            name: connection.execute(f"from {name} order by all").fetchall()
            for name in names
            if name not in ("generation", *without)
        }


def assert_same_rows(
    found: Connection, expected: Connection, names: Iterable[str], rtol: float, atol: float
) -> int:
    """Two connections give the same rows of relations, but for the last digits; how many."""
    n = 0
    for name in names:
        ours, theirs = (c.sql(f"from {name} order by all").df() for c in (found, expected))
        pd.testing.assert_frame_equal(ours, theirs, rtol=rtol, atol=atol, obj=name)
        n += len(theirs)
    return n


def shown(warehouse: Warehouse) -> dict[str, list[tuple[Any, ...]]]:
    """What a reader sees, but for where the rows lie."""
    found = contents(warehouse, "parquet_files")
    return {name: rows for name, rows in found.items() if not name.endswith(outside.INSIDE)}


def files_outside(warehouse: Warehouse) -> set[Path]:
    return {path for path in warehouse.outside.rglob("*") if path.is_file()}
