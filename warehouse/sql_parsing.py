"""What a piece of SQL reads, told by DuckDB's own parser, and how text is written into SQL."""

import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import duckdb

from selfrepair.warehouse.errors import WarehouseError


def literal(text: object) -> str:
    """SQL text literal, of a path too."""
    return "'" + str(text).replace("'", "''") + "'"


def filled_in(sql: str, parameters: Mapping[str, Any]) -> str:
    """A query with its `$name` parameters written out, for people to copy."""
    return re.sub(
        r"\$([a-z_]+)",
        lambda found: _written(parameters[found[1]]) if found[1] in parameters else found[0],
        sql,
    )


def _written(value: Any) -> str:
    if isinstance(value, str):
        return literal(value)
    if isinstance(value, list):
        return "[" + ", ".join(_written(one) for one in value) + "]"
    return str(value)


def names_read(kind: str, name: str, body: str) -> set[str]:
    """Names of the tables, views and functions that a relation's SQL uses (CTEs are not).

    A text that a table function is given counts as a name: `self_repair_of('head_ablations')`.
    """
    if kind == "table":
        return set()
    query = body
    if kind == "macro":
        is_table, query = macro_parts(name, body)
        query = query if is_table else f"select {query}"
    return set(_names_in(name, query))


def macro_parts(name: str, statement: str) -> tuple[bool, str]:
    """Whether a `create macro` statement makes a table macro, and its body."""
    head = re.match(
        rf"create\s+(or\s+replace\s+)?(macro|function)\s+{re.escape(name)}\s*\(",
        statement,
        re.IGNORECASE,
    )
    if not head:
        raise WarehouseError(f"sql: macros/{name}.sql must be one `create macro {name}(...) as`")
    depth, end = 1, head.end()
    while depth and end < len(statement):
        depth += {"(": 1, ")": -1}.get(statement[end], 0)
        end += 1
    kind = re.match(r"\s*as\s+(table\s+)?", statement[end:], re.IGNORECASE)
    if not kind:
        raise WarehouseError(f"sql: macros/{name}.sql has no `as` after its parameters")
    return bool(kind.group(1)), statement[end + kind.end() :]


@lru_cache(maxsize=1)
def _parser() -> duckdb.DuckDBPyConnection:
    """One for all queries: to open a connection takes longer than to parse."""
    return duckdb.connect()


@lru_cache(maxsize=512)
def _names_in(name: str, query: str) -> frozenset[str]:
    with _parser().cursor() as connection:
        row = connection.execute("select json_serialize_sql(?)", [query]).fetchone()
    assert row is not None
    tree = json.loads(row[0])
    if tree["error"]:
        raise WarehouseError(f"sql: {name}.sql cannot be read: {tree['error_message']}")
    if len(tree["statements"]) != 1:
        raise WarehouseError(f"sql: {name}.sql must hold one statement")
    return frozenset(_walk(tree, frozenset()))


def _walk(node: Any, ctes: frozenset[str]) -> Iterator[str]:
    """Names used below a node of DuckDB's syntax tree, those of the CTEs in scope left out."""
    if isinstance(node, list):
        for part in node:
            yield from _walk(part, ctes)
    if not isinstance(node, dict):
        return
    with_clause = node.get("cte_map", {}).get("map", [])
    for cte in with_clause:
        # A CTE sees those before it, and itself only where it is recursive.
        recursive = cte["value"].get("query_node", {}).get("type") == "RECURSIVE_CTE_NODE"
        yield from _walk(cte["value"], ctes | {cte["key"]} if recursive else ctes)
        ctes = ctes | {cte["key"]}
    if node.get("type") == "BASE_TABLE" and (node["schema_name"] or node["table_name"] not in ctes):
        yield node["table_name"]
    if node.get("class") == "FUNCTION":
        yield node["function_name"]
    if node.get("type") == "TABLE_FUNCTION":
        for argument in node["function"]["arguments"]:
            text = argument["expression"].get("literal", {}).get("text")
            if text not in ctes:
                yield str(text)
    for key, part in node.items():
        if key != "cte_map":
            yield from _walk(part, ctes)
