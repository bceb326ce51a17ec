"""The tables that are measured: which there are, who reads them, and their columns in a shard."""

import re
from functools import cache

import duckdb
import pyarrow as pa

from selfrepair.warehouse.errors import WarehouseError
from selfrepair.warehouse.sql_files import Source, relations, with_upstream


def fact_tables() -> list[str]:
    """The tables that are measured into shards: those that hold a run's rows by sequence."""
    return [
        found.name
        for found in relations()
        if found.kind == "table" and re.search(r"^\s*sequence integer", found.body, re.MULTILINE)
    ]


def facts_read(*names: str, source: Source | None = None) -> set[str]:
    """The fact tables that some relations read, themselves or through macros and views."""
    return with_upstream(names, source) & set(fact_tables())


CLOSER_LOOKS = ("neuron_changes", "self_reinforcement")
"""Measured beside `head_ablations`; a part of a run has one where it is there of all the part."""


@cache
def schema(table: str) -> pa.Schema:
    """Arrow schema of a table's shards, from its one definition in `sql/tables/`.

    Text is stored as a dictionary where it repeats (`ablation`); `run_id` is not a column.
    """
    for found in relations():
        if found.kind == "table" and found.name == table:
            with duckdb.connect() as connection:
                connection.execute(found.body)
                whole = connection.table(table).to_arrow_table().schema
            not_null = re.findall(r"^\s*(\w+)\s.*not null,?$", found.body, re.MULTILINE)
            return pa.schema(
                field.with_nullable(field.name not in not_null)
                for field in whole
                if field.name != "run_id"
            )
    raise WarehouseError(f"sql/tables/ defines no table {table!r}")
