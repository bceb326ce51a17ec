"""The reference page of all that `sql/` defines: what a row, a column and a macro mean.

    python -m selfrepair.warehouse.sql_reference > docs/reference.md

A test holds the page in `docs/` equal to it. Nothing is said there that `sql/` does not say: the
text is each file's leading comment, a column's meaning is that of `sql/columns.toml`, its type what
DuckDB makes of the query, and the links are what the query reads.
"""

import re
import sys
from collections.abc import Iterator

import duckdb

from selfrepair.warehouse.sql_created import create_all
from selfrepair.warehouse.sql_files import FOLDERS, Relation, Source, column_comments, relations

TITLES = {
    "table": ("Tables", "What is measured, and the runs: stored as it was written."),
    "stored": ("Stored results", "Queries whose rows are computed when a run is published."),
    "view": ("Views", "Queries over tables and stored results, computed when they are asked."),
    "macro": ("Macros", "Functions: of values, or of relations (`from name(...)`)."),
    "check": ("Checks", "Queries for rows that break a rule; a run with any is not published."),
}
HEADER = """\
# Reference: tables, stored results, views, macros, checks

Written from `sql/`, where it is changed, by
`python -m selfrepair.warehouse.sql_reference > docs/reference.md`.
The words of a column's meaning are explained in the app's glossary; units stand in brackets.
"""


def page(source: Source | None = None) -> str:
    """The page in Markdown, which ends with a newline; WarehouseError where `sql/` has a fault."""
    found = relations(source)
    with duckdb.connect() as connection:
        create_all(connection, source, comments=False)
        columns = {
            one.name: connection.execute(f"describe {one.name}").fetchall()
            for one in found
            if one.kind not in ("macro", "check")
        }
    parts = [HEADER]
    by_kind = {
        kind: sorted((one for one in found if one.kind == kind), key=lambda one: one.name)
        for kind in FOLDERS.values()
    }
    for kind, ones in by_kind.items():
        links = ", ".join(f"[{one.name}](#{one.name})" for one in ones)
        parts.append(f"**{TITLES[kind][0]}**: {links}\n")
    for kind, ones in by_kind.items():
        parts.append(f"## {TITLES[kind][0]}\n\n{TITLES[kind][1]}\n")
        for one in ones:
            parts += _entry(one, columns.get(one.name, []), source)
    return "\n".join(parts)


def _entry(one: Relation, described: list[tuple[str, ...]], source: Source | None) -> Iterator[str]:
    yield f"### {one.name}\n"
    if one.kind == "macro":
        yield f"`{_signature(one)}`\n"
    grain, *rest = one.comment.splitlines()
    yield f"{grain}\n"
    if rest:
        yield "\n".join(["```text", *rest, "```", ""])
    if one.upstream:
        yield f"Reads {', '.join(f'[{name}](#{name})' for name in one.upstream)}.\n"
    if described:
        meanings = column_comments(one.name, [row[0] for row in described], source)
        rows = [
            f"| `{name}` | {kind.lower()} | {_in_a_cell(meanings[name])} |"
            for name, kind, *_ in described
        ]
        yield "\n".join(["| column | type | meaning |", "| --- | --- | --- |", *rows, ""])


def _signature(macro: Relation) -> str:
    """`name(parameters)` as it is called."""
    parameters = re.search(r"\(([^)]*)\)", macro.body)
    assert parameters is not None  # or it would not have been parsed
    call = f"{macro.name}({parameters[1]})"
    return f"from {call}" if macro.is_table_macro else call


def _in_a_cell(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*")


if __name__ == "__main__":
    sys.stdout.write(page())
