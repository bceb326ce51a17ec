"""The app's only door to DuckDB: one read-only connection per generation, and cached answers.

`newest_generation()` looks at the published link (one `readlink`, one `stat`), so that a script run
after a publishing asks the new generation, and everything cached for the old one is left behind.
The SQL that pages ask is beside this file; the visitor's own is run in `console/`.
"""

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import streamlit as st
from streamlit.logger import set_log_level

from selfrepair.warehouse.connection import draw_no_bar
from selfrepair.warehouse.paths import Warehouse
from selfrepair.warehouse.published.generations import current, outside_of
from selfrepair.warehouse.published.read import current_generation, open_serving
from selfrepair.warehouse.sql_parsing import filled_in

MOST_MARKS = 3_000  # that one chart draws
SECONDS = 60  # that one query of the app may take

if not st.runtime.exists():  # a report or a notebook asks: Streamlit would warn of it at each step
    set_log_level("ERROR")


@dataclass(frozen=True)
class Generation:
    """One generation of one warehouse; the key of everything that is cached."""

    root: str
    number: int
    stamp: int  # of its file: a warehouse begun anew counts from 1 again

    @property
    def file(self) -> Path:
        return Warehouse(self.root).generation(self.number)

    @property
    def outside(self) -> list[Path]:
        """The files that hold its rows of large runs."""
        return outside_of(self.file)


@dataclass(frozen=True)
class Answer:
    """The rows of a query, and the query as it can be pasted into a DuckDB prompt."""

    frame: pd.DataFrame
    sql: str


def newest_generation(root: str | None = None) -> Generation | None:
    """The generation that is published now; None where nothing is published.

    Raises WarehouseError where the link does not lead to a generation.
    """
    warehouse = Warehouse(root)
    number = current_generation(warehouse)
    file = current(warehouse)
    if number is None or file is None:
        return None
    try:
        stamp = file.stat().st_mtime_ns
    except FileNotFoundError:  # two publishings since: the connection takes the newest
        stamp = 0
    return Generation(str(warehouse.root), number, stamp)


_OPEN: ContextVar[duckdb.DuckDBPyConnection | None] = ContextVar("open", default=None)


@contextmanager
def asked_of(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Meanwhile all questions go to a connection that is open to the generation they are of.

    It is one that `open_serving` has attached: a notebook's, which may not have the newest.
    """
    before = _OPEN.set(connection)
    try:
        yield
    finally:
        _OPEN.reset(before)


def _cursor(generation: Generation) -> duckdb.DuckDBPyConnection:
    given = _OPEN.get()
    if given is None:
        return _connection(generation).cursor()  # while it is here, its generation stays
    cursor = given.cursor()
    cursor.execute("use published")
    return cursor


@st.cache_resource(show_spinner=False, max_entries=2)
def _connection(generation: Generation) -> duckdb.DuckDBPyConnection:
    """Opens the generation; kept while it is the newest or the one before."""
    spill = Path(tempfile.gettempdir()) / f"selfrepair-app-{os.getpid()}"
    connection = open_serving(
        Warehouse(generation.root),
        {
            "memory_limit": "1GB",
            "temp_directory": str(spill),
            "max_temp_directory_size": "10GB",
            "max_execution_time": SECONDS * 1000,
            "python_enable_replacements": False,
            "autoinstall_known_extensions": False,
        },
    )
    draw_no_bar(connection)
    return connection


@st.cache_data(show_spinner=False, max_entries=300)
def _rows(generation: Generation, sql: str, parameters: dict[str, Any]) -> pd.DataFrame:
    return _cursor(generation).execute(sql, parameters or None).df()


def ask(generation: Generation, sql: str, **parameters: Any) -> Answer:
    """The rows of a query; `$name` in it is the parameter of that name.

    Raises duckdb.Error.
    """
    sql = sql.strip()
    named = set(re.findall(r"\$([a-z_]+)", sql))
    used = {name: value for name, value in parameters.items() if name in named}
    return Answer(_rows(generation, sql, used), filled_in(sql, used))


@st.cache_resource(show_spinner=False, max_entries=2)
def relations(generation: Generation) -> dict[str, str]:
    """Name of each table and view of the generation -> its documentation.

    Not the parts of tables that are called `_inside`, where rows lie outside (`outside.py`).
    """
    frame = _rows(
        generation,
        """
        select table_name as name, comment from duckdb_tables()
        where not ends_with(table_name, '_inside')
        union all
        select view_name, comment from duckdb_views() where not internal
        order by name
        """,
        {},
    )
    return {row.name: row.comment or "" for row in frame.itertuples(index=False)}


def lacking(generation: Generation, *names: str) -> list[str]:
    """Those of the relations that the generation does not have, or that hold no row."""
    known = relations(generation)
    return [
        name
        for name in names
        if name not in known or _rows(generation, f'select 1 from "{name}" limit 1', {}).empty
    ]


def columns(generation: Generation) -> pd.DataFrame:
    """One row per relation and column: relation, column, type, meaning."""
    return _rows(
        generation,
        """
        select
            table_name as relation,
            column_name as "column",
            data_type as type,
            comment as meaning
        from duckdb_columns()
        where not internal and not ends_with(table_name, '_inside')
        order by table_name, column_index
        """,
        {},
    )


def meaning(generation: Generation, column: str, relation: str | None = None) -> str:
    """What a column means, with its unit: the comment that the SQL folder gave it."""
    said = meanings(generation)
    return said.get((relation, column)) or said.get((None, column), "")


@st.cache_resource(show_spinner=False, max_entries=2)
def meanings(generation: Generation) -> dict[tuple[str | None, str], str]:
    """By relation and column, and by column alone: what the first relation says that says it.

    Asked some thirty times for a page, so that it is kept as it is, not copied.
    """
    said: dict[tuple[str | None, str], str] = {}
    for row in columns(generation).dropna(subset="meaning").itertuples(index=False):
        said[row.relation, row.column] = row.meaning
        said.setdefault((None, row.column), row.meaning)
    return said
