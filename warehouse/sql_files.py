"""Which relations the `sql/` folder defines, in which order, and what each one means.

Every relation is one file, named after it:

| folder | holds | is made as |
| --- | --- | --- |
| `sql/tables/` | `create table` statements: the one definition of columns and types | itself |
| `sql/stored/` | a bare `select` for one run (`stored_results.py`) | a table, filled per run |
| `sql/views/`  | a bare `select` | a view |
| `sql/macros/` | one `create macro` statement | itself |
| `sql/data/`   | CSV files, one per table that the project fills (`sql_created.py`) | rows |
| `sql/checks/` | a bare `select` of the rows that break a rule | nothing: it is run |

A file's leading `--` lines are its documentation, the first of them its grain ("One row per ...").
`sql/columns.toml` gives each column name one meaning; a `[relation]` section overrides it there,
and a key such as "*_se" explains all names with that ending.

What a relation reads is found by parsing it (DuckDB's own parser), never declared twice; the
relations are ordered by it, and a cycle is an error.
"""

import hashlib
import importlib.resources
import json
import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from graphlib import CycleError, TopologicalSorter
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from selfrepair.warehouse.errors import WarehouseError
from selfrepair.warehouse.sql_parsing import macro_parts, names_read

FOLDERS = {
    "tables": "table",
    "stored": "stored",
    "views": "view",
    "macros": "macro",
    "checks": "check",
}

Source = Path | Traversable


@dataclass(frozen=True)
class Relation:
    """One file of the `sql/` folder.

    `body` is its SQL without the leading comment and the last semicolon; `upstream` are the
    relations that it reads directly, by name, in the order of their creation.
    """

    name: str
    kind: str
    grain: str
    comment: str
    body: str
    upstream: tuple[str, ...]

    @property
    def parameters(self) -> set[str]:
        """What a stored query may name, such as `$run_id`; without the dollar."""
        return set(re.findall(r"\$([a-z_]+)", self.body))

    @property
    def is_table_macro(self) -> bool:
        return self.kind == "macro" and macro_parts(self.name, self.body)[0]


def packaged_sql() -> Traversable:
    """The project's own `sql/` folder, found in a checkout as in an installed package."""
    return importlib.resources.files("selfrepair.sql")


def relations(source: Source | None = None) -> list[Relation]:
    """All relations: each after those that it reads; tables first, checks last.

    The project's own, which do not change while a process lives, are read once.

    Raises WarehouseError for a file without a grain, SQL that does not parse, two relations of the
    same name, or relations that read each other in a circle.
    """
    return list(_packaged_relations() if source is None else _relations(source))


@cache
def _packaged_relations() -> tuple[Relation, ...]:
    return tuple(_relations(packaged_sql()))


def _relations(source: Source) -> list[Relation]:
    files = list(_files(source))
    names = [name for _, name, _ in files]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise WarehouseError(f"defined twice in sql/: {', '.join(twice)}: give each its own name")
    parsed: dict[str, tuple[str, str, str, set[str]]] = {}
    for kind, name, text in files:
        comment, body = _split(text)
        if not comment:
            raise WarehouseError(f"sql: {name}.sql has no first line that says what one row is")
        reads = names_read(kind, name, body) & (
            set(names) - {name} if kind == "check" else set(names)
        )
        parsed[name] = (kind, comment, body, reads)
    try:
        order = list(TopologicalSorter({n: sorted(p[3]) for n, p in parsed.items()}).static_order())
    except CycleError as error:
        circle = " -> ".join(reversed(error.args[1]))
        raise WarehouseError(f"sql: these relations read each other: {circle}") from error
    # A stable sort by tables / the rest / checks: what is in the rest keeps its order.
    order.sort(key=lambda n: {"table": 0, "check": 2}.get(parsed[n][0], 1))
    place = {name: i for i, name in enumerate(order)}
    found = []
    for name in order:
        kind, comment, body, reads = parsed[name]
        upstream = tuple(sorted(reads, key=place.__getitem__))
        found.append(Relation(name, kind, comment.splitlines()[0], comment, body, upstream))
    return found


def relation(name: str, source: Source | None = None) -> Relation:
    """The relation of that name; WarehouseError where there is none."""
    for found in relations(source):
        if found.name == name:
            return found
    raise WarehouseError(f"sql/ defines no relation {name!r}")


def with_upstream(names: Iterable[str], source: Source | None = None) -> set[str]:
    """These relations and all that they read, themselves or through others."""
    known = {found.name: found for found in relations(source)}
    todo, found = list(names), set[str]()
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += known[name].upstream
    return found


def published_definitions(source: Source | None = None) -> str:
    """sha256 over all that decides which rows a generation stores.

    These are the tables, the stored results, and what the stored results read. Comments and views
    that nothing stored reads are made anew at every publishing, and do not count.
    """
    known = {found.name: found for found in relations(source)}
    stored = [name for name, found in known.items() if found.kind in ("table", "stored")]
    counted = sorted(with_upstream(stored, source))
    text = json.dumps([(name, known[name].body) for name in counted])
    return hashlib.sha256(text.encode()).hexdigest()


def column_comments(name: str, columns: list[str], source: Source | None = None) -> dict[str, str]:
    """The meaning of each column of relation `name`; WarehouseError for one without any."""
    file = (source or packaged_sql()) / "columns.toml"
    text = _parsed_toml(file.read_text(encoding="utf-8"))
    own = text.get(name)
    if not isinstance(own, dict):  # a relation may have the name of a column
        own = {}
    meanings = {column: _meaning(column, own, text) for column in columns}
    missing = [column for column, meaning in meanings.items() if not isinstance(meaning, str)]
    if missing:
        raise WarehouseError(
            f"sql/columns.toml gives no meaning for {', '.join(missing)} of {name}: add a line"
        )
    return {column: str(meaning) for column, meaning in meanings.items()}


def _meaning(column: str, own: dict[str, Any], general: dict[str, Any]) -> str | None:
    """What the relation says of the column, or all relations, or the rule for its suffix.

    A rule is a key such as "*_se" whose text holds `{}` for the meaning of the rest of the name.
    """
    exact = own.get(column, general.get(column))
    if isinstance(exact, str):
        return exact
    for rule in sorted((key for key in general if key.startswith("*")), key=len, reverse=True):
        rest = column.removesuffix(rule[1:])
        if rest != column and (meaning := _meaning(rest, own, general)):
            return str(general[rule]).format(meaning)
    return None


@lru_cache(maxsize=4)
def _parsed_toml(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise WarehouseError(f"sql/columns.toml: {error}") from error


def _files(source: Source) -> Iterator[tuple[str, str, str]]:
    """(kind, name, text) of each SQL file."""
    for folder, kind in FOLDERS.items():
        place = source / folder
        if not place.is_dir():
            continue
        for file in sorted(place.iterdir(), key=lambda f: f.name):
            if file.name.endswith(".sql"):
                yield kind, file.name.removesuffix(".sql"), file.read_text(encoding="utf-8")


def _split(text: str) -> tuple[str, str]:
    """The leading `--` lines without their dashes, and the SQL after them."""
    lines = text.strip().splitlines()
    n = 0
    while n < len(lines) and lines[n].startswith("--"):
        n += 1
    comment = "\n".join(line[2:].strip() for line in lines[:n]).strip()
    return comment, "\n".join(lines[n:]).strip().removesuffix(";").rstrip()
