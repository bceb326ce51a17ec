"""The wall of the language: what of a statement is let through, told from its parse.

DuckDB's own parser gives the tree; every query in it, however deep, must be one that only reads,
and every table function one that reaches nothing outside the file. Whatever is not known here is
refused. A statement's type does not tell: DuckDB calls `with x as (copy ...) select 1` a SELECT.

The operating system's wall (`landlock.py`) does not depend on any of this.
"""

import json
from collections.abc import Iterator
from typing import Any

import duckdb

QUERIES = {"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"}
SOURCES = {
    *("BASE_TABLE", "EMPTY", "EXPRESSION_LIST", "JOIN", "PIVOT", "SHOW_REF", "SUBQUERY"),
    *("TABLE_FUNCTION", "COLUMN_DATA"),
}
# Table functions that read nothing but the file and what they are given; the warehouse's own macros
# are let through too. Not here: those that run a text as SQL (query), read files, write logs, or
# tell a path of this machine (duckdb_databases, duckdb_settings).
TABLE_FUNCTIONS = {
    *("range", "generate_series", "unnest", "repeat", "repeat_row", "json_each", "json_tree"),
    *("duckdb_columns", "duckdb_constraints", "duckdb_functions", "duckdb_indexes"),
    *("duckdb_keywords", "duckdb_schemas", "duckdb_sequences", "duckdb_tables", "duckdb_types"),
    *("duckdb_views", "pragma_table_info", "pragma_storage_info", "pragma_version"),
    *("histogram", "histogram_values", "summary", "test_all_types", "test_vector_types"),
    *("icu_calendar_names", "pg_timezone_names"),
}
CATALOG = ("duckdb_", "pragma_")  # of these names, views and table functions are told alike
TELLS_PATHS = {"pg_settings", "pg_database"}
FUNCTIONS_REFUSED = {"current_setting", "write_log", "getenv"}

READS = "this page only reads: SELECT, FROM, WITH, VALUES, DESCRIBE, SUMMARIZE, SHOW and EXPLAIN"


class RefusedError(ValueError):
    """A statement, or a part of it, is none that only reads; the message says which."""


def check(connection: duckdb.DuckDBPyConnection, statement: str) -> None:
    """Returns where the one statement only reads, and reaches nothing but the connection's file.

    Raises RefusedError, and ValueError for none or several statements; duckdb.Error where it is no
    SQL. Nothing of the statement is run.
    """
    found = connection.extract_statements(statement)
    if len(found) != 1:
        raise ValueError(
            "there is no statement" if not found else "one statement at a time, please"
        )
    kind = str(found[0].type).rpartition(".")[2]
    if kind == "EXPLAIN":
        statement = _explained(statement)
    elif kind == "MULTI":
        raise RefusedError(
            "refused: PIVOT without its values is several statements; "
            "name them, as in `pivot t on x in (1, 2) using sum(y)`"
        )
    elif kind != "SELECT":
        raise RefusedError(f"refused: {READS}; this is {kind.replace('_', ' ')}")
    row = connection.execute("select json_serialize_sql(?)", [statement]).fetchone()
    try:
        tree = json.loads(str(row[0])) if row else {}
        if tree.get("error", True) or len(tree["statements"]) != 1:
            raise RefusedError(f"refused: {READS}")
        own = _own_macros(connection)
        for node in _nodes(tree["statements"]):
            _check_node(node, own)
    except RecursionError:
        raise RefusedError("refused: the statement is nested too deeply") from None


def _check_node(node: dict[str, Any], own_macros: set[str]) -> None:
    """Raises RefusedError for a query, a source of rows or a function that may do more than read.

    Of the tree's objects, queries are of a type ending in _NODE, sources have a `sample` and no
    `class`, and functions are of the class FUNCTION.
    """
    kind, a_class = str(node.get("type", "")), node.get("class")
    if kind.endswith("_NODE"):
        if kind not in QUERIES:
            raise RefusedError(f"refused: {READS}; a part of this is {kind.split('_')[0]}")
    elif "sample" in node and a_class is None:
        if kind not in SOURCES:
            raise RefusedError(f"refused: {READS}; a part of this is {kind.replace('_', ' ')}")
        if kind == "TABLE_FUNCTION":
            called = str(node["function"].get("function_name", "")).lower()
            if called not in TABLE_FUNCTIONS | own_macros:
                raise RefusedError(f"refused: {called}(...) is not available on this page")
        if kind == "BASE_TABLE":
            table = str(node.get("table_name", "")).lower()
            unknown = table.startswith(CATALOG) and table not in TABLE_FUNCTIONS
            if "/" in table:  # a file: its rows are shown by a table, its path by nothing
                raise RefusedError("refused: files are not available on this page, tables are")
            if unknown or table in TELLS_PATHS:
                raise RefusedError(f"refused: {table} is not available on this page")
    if a_class == "FUNCTION" and str(node.get("function_name", "")).lower() in FUNCTIONS_REFUSED:
        raise RefusedError(f"refused: {node['function_name']}(...) is not available on this page")


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Every object of the syntax tree."""
    if isinstance(tree, list):
        for part in tree:
            yield from _nodes(part)
    elif isinstance(tree, dict):
        yield tree
        for part in tree.values():
            yield from _nodes(part)


def _explained(statement: str) -> str:
    """What an EXPLAIN is of: the text after its words and options."""
    words = _words(statement)
    place = 1
    if place < len(words) and words[place][0].lower() in ("analyze", "verbose"):
        place += 1
    if place < len(words) and words[place][0] == "(" and words[place + 1][0].lower() in OPTIONS:
        depth = 0
        while place < len(words):
            depth += {"(": 1, ")": -1}.get(words[place][0], 0)
            place += 1
            if depth == 0:
                break
    if place >= len(words):
        raise RefusedError(f"refused: {READS}")
    return statement[words[place][1] :]


OPTIONS = ("analyze", "format", "verbose")


def _words(statement: str) -> list[tuple[str, int]]:
    """The tokens of a statement, comments left out, and where each begins."""
    tokens = [(start, kind) for start, kind in duckdb.tokenize(statement)]
    ends = [start for start, _ in tokens[1:]] + [len(statement.encode())]
    data = statement.encode()
    found = []
    for (start, kind), end in zip(tokens, ends, strict=True):
        if "comment" not in str(kind).lower():
            text = data[start:end].decode(errors="replace").strip()
            found.append((text, len(data[:start].decode(errors="replace"))))
    return found


def _own_macros(connection: duckdb.DuckDBPyConnection) -> set[str]:
    """The table macros that the warehouse's file defines."""
    rows = connection.execute(
        "select function_name from duckdb_functions()"
        " where not internal and function_type = 'table_macro'"
    ).fetchall()
    return {str(row[0]).lower() for row in rows}
