"""A warehouse in memory from a few literal rows, for tests whose answers are worked out by hand.

A row says only what its test is about; everything else has a value that changes nothing:
no direct effect, no logit change, no repair, S = S' = 1.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import duckdb
import pyarrow as pa

from selfrepair.warehouse import sql_created, sql_files
from selfrepair.warehouse.published import stored_results
from tests.helpers.runs.small_run import run_row

RUN = run_row(
    "run",
    model="model",
    parallel_attention=True,
    d_model=4,
    d_mlp=16,
    d_vocab=97,
    sequence_length=3,
    n_sequences=2,
    ablations=["resample"],
    precision_error=None,
    top_fraction=0.5,
)
ABLATION = {
    "run_id": "run",
    "ablation": "resample",
    "layer": 0,
    "head": 0,
    "sequence": 0,
    "position": 0,
    "direct_effect": 0.0,
    "direct_effect_ablated": 0.0,
    "logit_change": 0.0,
    "ln_scale": 1.0,
    "ln_scale_ablated": 1.0,
    "self_repair_from_heads": 0.0,
    "self_repair_from_mlps": 0.0,
    "self_repair_from_last_mlp": 0.0,
    "self_repair_from_post_norm": 0.0,
}
TOKEN = {
    "run_id": "run",
    "sequence": 0,
    "position": 0,
    "token": 1,
    "token_text": "a",
    "target": 2,
    "target_text": "b",
    "logit": 0.0,
    "logit_bias": 0.0,
    "ln_scale": 1.0,
}


def warehouse_of(
    ablations: Iterable[Mapping[str, Any]],
    *,
    tokens: Iterable[Mapping[str, Any]] = (),
    runs: Iterable[Mapping[str, Any]] = ({},),
    others: Mapping[str, Iterable[Mapping[str, Any]]] | None = None,
) -> duckdb.DuckDBPyConnection:
    """A connection with the tables, their rows, and every stored result, view and macro.

    Each mapping overrides what `ABLATION`, `TOKEN` or `RUN` says. A position that has an ablation
    and no token gets one, `direct_effects` the ablated heads' rows, and a run as many heads as are
    ablated. `others` are rows of further tables, whole but for run_id "run". Comments are left out:
    they take half the time.
    """
    head_ablations = [{**ABLATION, **row} for row in ablations]
    given = [{**TOKEN, **row} for row in tokens]
    known = {_place(row) for row in given}
    for place in dict.fromkeys(_place(row) for row in head_ablations):
        if place not in known:
            run_id, sequence, position = place
            given.append({**TOKEN, "run_id": run_id, "sequence": sequence, "position": position})
    connection = duckdb.connect()
    sql_created.create_tables(connection)
    most_heads = max([RUN["n_heads"], *(row["head"] + 1 for row in head_ablations)])
    for run in runs:
        row = {**RUN, "n_heads": most_heads, **run}
        marks = ", ".join("?" for _ in row)
        connection.execute(
            f"insert into runs ({', '.join(row)}) values ({marks})", list(row.values())
        )
    tables = {"head_ablations": head_ablations, "tokens": given}
    tables |= {
        name: [{"run_id": "run", **row} for row in rows] for name, rows in (others or {}).items()
    }
    for table, rows in tables.items():
        if rows:
            insert_arrow(connection, table, pa.Table.from_pylist(rows))
    copy_direct_effects(connection)
    sql_created.create_all(connection, comments=False)
    fill_stored_results(connection)
    return connection


def fill_stored_results(connection: duckdb.DuckDBPyConnection) -> None:
    """Computes every stored result of every run, as publishing does."""
    run_ids = [row[0] for row in connection.execute("select run_id from runs").fetchall()]
    for found in sql_files.relations():
        if found.kind == "stored":
            for run_id in run_ids:
                stored_results.fill(connection, found, run_id, found.name)


def insert_arrow(connection: duckdb.DuckDBPyConnection, table: str, rows: pa.Table) -> None:
    """Inserts an Arrow table's columns by name."""
    connection.register("inserted_rows", rows)
    connection.execute(f"insert into {table} by name select * from inserted_rows")
    connection.unregister("inserted_rows")


def copy_direct_effects(connection: duckdb.DuckDBPyConnection) -> None:
    """Gives `direct_effects` the ablated heads' rows: the clean pass measures the same."""
    connection.execute(
        "insert into direct_effects by name select distinct on (run_id, layer, head, sequence,"
        " position) run_id, layer, head, sequence, position, direct_effect from head_ablations"
    )


def answer(connection: duckdb.DuckDBPyConnection, query: str) -> list[dict[str, Any]]:
    """A query's rows, each as a mapping from column name to value."""
    result = connection.execute(query)
    names = [column[0] for column in result.description or []]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def _place(row: Mapping[str, Any]) -> tuple[str, int, int]:
    return row["run_id"], row["sequence"], row["position"]
