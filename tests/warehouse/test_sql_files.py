"""The SQL folder: what it defines, in which order, and that all of it is documented."""

import importlib.resources
import tomllib
from pathlib import Path

import duckdb
import pytest

from selfrepair.warehouse.errors import WarehouseError
from selfrepair.warehouse.published import stored_results
from selfrepair.warehouse.sql_created import create_all, create_tables
from selfrepair.warehouse.sql_files import published_definitions, relation, relations


def sql_folder(root: Path, **files: str) -> Path:
    """A small SQL folder: file name "views__big" is views/big.sql; `columns` is columns.toml."""
    columns = files.pop("columns", 'run_id = "the run"\nx = "a number"\n')
    for name, text in files.items():
        kind, stem = name.split("__")
        (root / kind).mkdir(parents=True, exist_ok=True)
        (root / kind / f"{stem}.sql").write_text(text)
    (root / "columns.toml").write_text(columns)
    return root


RUNS = "-- One row per run.\ncreate table runs (run_id varchar, x integer);\n"


def test_a_relation_comes_after_those_that_it_reads(tmp_path: Path) -> None:
    source = sql_folder(
        tmp_path,
        tables__runs=RUNS,
        views__a="-- One row per run.\nselect * from z",
        views__z="-- One row per run.\nselect run_id, x from doubled(2) where x > add_one(0)",
        macros__doubled=(
            "-- One row per run.\ncreate macro doubled(factor, n := (1 + 1)) as table\n"
            "select run_id, x * factor as x from stored_x"
        ),
        macros__add_one="-- x + 1.\ncreate macro add_one(x) as x + (select min(n) from ones);\n",
        views__ones="-- One row.\nselect 1 as n",
        stored__stored_x="-- One row per run.\nselect run_id, x from runs where run_id = $run_id",
        checks__small="-- x must be small.\nselect * from runs where x > 9",
    )
    order = [found.name for found in relations(source)]
    assert order[0] == "runs"
    assert order[-1] == "small"
    assert order.index("stored_x") < order.index("doubled") < order.index("z") < order.index("a")
    assert set(relation("z", source).upstream) == {"add_one", "doubled"}
    assert relation("doubled", source).upstream == ("stored_x",)
    assert relation("add_one", source).upstream == ("ones",)
    assert relation("stored_x", source).upstream == ("runs",)
    assert relation("small", source).kind == "check"
    assert relation("small", source).grain == "x must be small."


def test_only_relations_count_not_ctes_or_columns_of_the_same_name(tmp_path: Path) -> None:
    source = sql_folder(
        tmp_path,
        tables__runs=RUNS,
        tables__other="-- One row per run.\ncreate table other (x integer)",
        # A CTE named like a table hides it; a column named like the view itself is no circle; a CTE
        # may read the table that it hides; subqueries anywhere are found.
        views__x=(
            "-- One row per run.\nwith other as (select 1 as a), runs as (select * from runs)\n"
            "select runs.x from runs, other where exists (select 1 from y)"
        ),
        views__y="-- One row.\nselect (select max(x) from main.other) as x",
    )
    assert relation("x", source).upstream == ("runs", "y")
    assert relation("y", source).upstream == ("other",)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {
                "views__a": "-- One row.\nselect * from b",
                "views__b": "-- One row.\nselect * from a",
            },
            "read each other: (a -> b -> a|b -> a -> b)",
        ),
        ({"views__a": "-- One row.\nselect * from a"}, "read each other: a -> a"),
        ({"views__a": "select 1 as x"}, "a.sql has no first line"),
        ({"views__a": "-- One row.\nselec 1 as x"}, "a.sql cannot be read: syntax error"),
        ({"views__a": "-- One row.\nselect 1; select 2"}, "a.sql must hold one statement"),
        (
            {"views__a": "-- One row.\nselect 1 as x", "stored__a": "-- One row.\nselect 1 as x"},
            "defined twice in sql/: a:",
        ),
        ({"macros__a": "-- x.\ncreate macro b(x) as x"}, "must be one `create macro a"),
    ],
)
def test_a_folder_that_cannot_be_right_is_refused(
    tmp_path: Path, files: dict[str, str], message: str
) -> None:
    source = sql_folder(tmp_path, **files)
    with pytest.raises(WarehouseError, match=message):
        relations(source)


def test_a_column_without_a_meaning_is_an_error(tmp_path: Path) -> None:
    source = sql_folder(
        tmp_path, tables__runs=RUNS, views__v="-- One row per run.\nselect x, x as y from runs"
    )
    with pytest.raises(WarehouseError, match=r"no meaning for y of v"):
        create_all(duckdb.connect(), source)


def test_everything_that_is_made_carries_its_comment(tmp_path: Path) -> None:
    source = sql_folder(
        tmp_path,
        tables__runs=RUNS,
        views__v="-- One row per run.\n-- It's eq. (1).\nselect x from runs",
        macros__m="-- Twice x.\ncreate macro m(x) as 2 * x",
        macros__t="-- One row per run.\ncreate macro t() as table select * from v",
        columns='run_id = "the run"\nx = "a number"\n[v]\nx = "the run\'s number"\n',
    )
    connection = duckdb.connect()
    create_all(connection, source)
    assert connection.execute(
        "select table_name, column_name, comment from duckdb_columns()"
        " where not internal order by all"
    ).fetchall() == [
        ("runs", "run_id", "the run"),
        ("runs", "x", "a number"),
        ("v", "x", "the run's number"),
    ]
    views = connection.execute("select comment from duckdb_views() where not internal").fetchall()
    assert views == [("One row per run.\nIt's eq. (1).",)]
    assert connection.execute(
        "select function_name, comment from duckdb_functions() where not internal order by all"
    ).fetchall() == [("m", "Twice x."), ("t", "One row per run.")]


def test_a_meaning_that_changed_is_put_in_the_place_of_the_old_one(tmp_path: Path) -> None:
    connection = duckdb.connect()
    create_all(connection, sql_folder(tmp_path / "old", tables__runs=RUNS))
    columns = 'run_id = "the run\'s name"\nx = "a number"\n'
    create_all(connection, sql_folder(tmp_path / "new", tables__runs=RUNS, columns=columns))
    assert connection.execute(
        "select comment from duckdb_columns() where not internal"
    ).fetchall() == [
        ("the run's name",),
        ("a number",),
    ]


def test_no_more_is_made_than_what_some_relations_read(tmp_path: Path) -> None:
    source = sql_folder(
        tmp_path,
        tables__runs=RUNS,
        macros__m="-- Twice x.\ncreate macro m(x) as 2 * x",
        views__read="-- One row per run.\nselect m(x) as x from runs",
        views__other="-- One row per run.\nselect x from runs",
        stored__kept="-- One row per run.\nselect run_id, x from runs where run_id = $run_id",
        checks__c="-- No x is odd.\nselect x from read where x % 2 = 1",
    )
    connection = duckdb.connect()
    create_all(connection, source, comments=False, only=["c"])
    relations_made = "select table_name from duckdb_columns() where not internal group by all"
    assert sorted(connection.execute(relations_made).fetchall()) == [("read",), ("runs",)]
    assert connection.execute("select m(4)").fetchall() == [(8,)]


def test_a_stored_result_is_filled_run_by_run(tmp_path: Path) -> None:
    source = sql_folder(
        tmp_path,
        tables__runs=RUNS,
        stored__kept="-- One row per run.\nselect run_id, x from runs where run_id = $run_id",
    )
    connection = duckdb.connect()
    create_tables(connection, source)
    connection.execute("insert into runs values ('a', 1), ('b', 2)")
    create_all(connection, source)
    [kept] = [found for found in relations(source) if found.kind == "stored"]
    assert connection.execute("from kept").fetchall() == []
    for run_id in ("a", "b"):
        stored_results.fill(connection, kept, run_id, "kept")
    connection.execute("update runs set x = x + 10")
    create_all(connection, source)  # made again, what is stored stays
    stored_results.fill(connection, kept, "b", "kept")
    assert connection.execute("from kept order by run_id").fetchall() == [("a", 1), ("b", 12)]


def test_definitions_change_with_what_is_stored_and_nothing_else(tmp_path: Path) -> None:
    files = {
        "tables__runs": RUNS,
        "views__read": "-- One row per run.\nselect * from runs",
        "views__free": "-- One row per run.\nselect * from runs",
        "stored__kept": "-- One row per run.\nselect * from read where run_id = $run_id",
    }
    first = published_definitions(sql_folder(tmp_path / "first", **files))
    other_view = files | {"views__free": "-- One row per run.\nselect x from runs"}
    other_words = files | {"tables__runs": RUNS.replace("One row", "Just one row")}
    other_source = files | {"views__read": "-- One row per run.\nselect * from runs where x > 0"}
    other_column = files | {"tables__runs": RUNS.replace("x integer", "x integer, y integer")}
    assert published_definitions(sql_folder(tmp_path / "a", **other_view)) == first
    assert published_definitions(sql_folder(tmp_path / "b", **other_words)) == first
    assert published_definitions(sql_folder(tmp_path / "c", **other_source)) != first
    assert published_definitions(sql_folder(tmp_path / "d", **other_column)) != first


def test_the_projects_own_folder_is_documented_to_the_last_column() -> None:
    connection = duckdb.connect()
    create_all(connection)
    undocumented = connection.execute(
        """
        select table_name, column_name
        from duckdb_columns()
        where not internal and coalesce(trim(comment), '') = ''
        union all
        select view_name, null
        from duckdb_views()
        where not internal and coalesce(trim(comment), '') = ''
        """
    ).fetchall()
    assert undocumented == []
    made = {
        name
        for (name,) in connection.execute(
            "select table_name from duckdb_tables() union all"
            " select view_name from duckdb_views() where not internal"
        ).fetchall()
    }
    defined = {found.name for found in relations() if found.kind in ("table", "stored", "view")}
    assert made == defined


def test_columns_toml_explains_nothing_that_is_not_there() -> None:
    connection = duckdb.connect()
    create_all(connection)
    columns: dict[str, set[str]] = {}
    for table, column in connection.execute(
        "select table_name, column_name from duckdb_columns() where not internal"
    ).fetchall():
        columns.setdefault(table, set()).add(column)
    text = tomllib.loads(
        (importlib.resources.files("selfrepair.sql") / "columns.toml").read_text(encoding="utf-8")
    )
    everywhere = set().union(*columns.values())
    endings = [name.removeprefix("*") for name in text if name.startswith("*")]
    for ending in endings:
        explained = {name.removesuffix(ending) for name in everywhere if name.endswith(ending)}
        assert explained, f"no column ends in {ending}"
        everywhere |= explained
    for name, meaning in text.items():
        if isinstance(meaning, dict):
            assert set(meaning) <= columns[name], f"section [{name}]"
        elif not name.startswith("*"):
            assert name in everywhere, name


def test_every_check_says_what_must_hold_and_reads_no_stored_result() -> None:
    """Checks run before publishing, when what is stored is not there yet."""
    kinds = {found.name: found.kind for found in relations()}
    checks = [found for found in relations() if found.kind == "check"]
    assert len(checks) >= 10
    for found in checks:
        assert " must " in found.grain, found.name
        read, todo = set[str](), list(found.upstream)
        while todo:
            read.add(name := todo.pop())
            todo += [other for other in relation(name).upstream if other not in read]
        assert "stored" not in {kinds[name] for name in read}, found.name
