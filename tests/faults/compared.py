"""Whether a warehouse's tables can all be read, and are those of an undisturbed run."""

import math
import os
from pathlib import Path
from typing import Any

from selfrepair.warehouse.facts.tables import fact_tables
from selfrepair.warehouse.paths import Warehouse
from selfrepair.warehouse.published.read import open_serving
from tests.faults.children import in_child

Tables = dict[str, list[tuple[Any, ...]]]


def tables_in_child(root: Path) -> Tables:
    return in_child(lambda: tables(root))


def tables(root: Path) -> Tables:
    """All rows of all tables and views, but for what says when, and where a file lies."""
    with open_serving(Warehouse(root)) as connection:
        names = [name for (name,) in connection.execute("show tables").fetchall()]
        found: Tables = {}
        for name in names:
            times = "exclude (started_at, finished_at)" if name == "runs" else ""
            if name != "generation":
                rows = connection.execute(f"select * {times} from {name} order by all")
                found[name] = rows.fetchall()
        return found


def difference(found: Tables, expected: Tables) -> str:
    """Where tables differ: the measured facts in any bit, what is computed of them beyond rounding.

    DuckDB adds up in parallel, in an order that is not always the same; a standard error of values
    that are all alike is the root of a difference of such sums, 1e-8 of the values.
    """
    for name, rows in expected.items():
        there = found.get(name)
        if there is None or len(there) != len(rows):
            return f" | {name} has {len(there or [])} rows, not {len(rows)}"
        exact = name in fact_tables()
        for ours, theirs in zip(there, rows, strict=True):
            if repr(ours) != repr(theirs) and (exact or not _alike(ours, theirs)):
                return f" | {name} differs: {ours!r:.300} is not {theirs!r:.300}"
    return ""


def _alike(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, list | tuple) and isinstance(theirs, list | tuple):
        return len(ours) == len(theirs) and all(map(_alike, ours, theirs))
    if isinstance(ours, float) and isinstance(theirs, float):
        return math.isclose(ours, theirs, rel_tol=1e-9, abs_tol=1e-7) or repr(ours) == repr(theirs)
    return repr(ours) == repr(theirs)


def whole_in_child(root: Path) -> str:
    """What is wrong with the served file; nothing where every view answers, or none is served."""

    def look() -> str:
        if not os.path.lexists(root / "selfrepair.duckdb"):
            return ""
        try:
            tables(root)
        except Exception as error:
            return f" | not whole: {error}"
        return ""

    return str(in_child(look))
