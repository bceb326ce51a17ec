"""Rows of large runs, which lie in Parquet files beside the published file."""

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from selfrepair.app.console import sql_console
from selfrepair.warehouse.connection import working_connection
from selfrepair.warehouse.errors import WarehouseError
from selfrepair.warehouse.facts.run_table import RunTable
from selfrepair.warehouse.paths import Warehouse
from selfrepair.warehouse.published import outside
from selfrepair.warehouse.published.generations import current, outside_of
from selfrepair.warehouse.published.publish import delete, publish
from selfrepair.warehouse.published.read import open_serving
from selfrepair.warehouse.sealed import is_intact
from selfrepair.warehouse.sql_files import relations
from tests.helpers.runs.app_runs import publish_run
from tests.helpers.runs.cli_runs import installed
from tests.helpers.runs.small_publishing import assert_same_rows, measured, shown
from tests.helpers.runs.small_publishing import files_outside as files


def test_it_answers_as_one_file_does(
    warehouse: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every table, stored result and view; with a run inside and one outside in one warehouse."""
    one = Warehouse(tmp_path / "one").prepare()
    for place in (one, warehouse):
        publish_run(place.root, "small", ablations=["zero"])
        if place is warehouse:
            monkeypatch.setattr(outside, "RUN_INSIDE_AT_MOST", 0)
            monkeypatch.setattr(outside, "TABLE_INSIDE_AT_MOST", 0)
        publish_run(place.root, "it's", details=True, seed=3, ablations=["zero"])
    lie_there = {path.parents[1].name for path in files(warehouse)}
    assert {"head_ablations", "tokens", "neuron_changes", "head_means", "top_rows"} <= lie_there
    assert files(one) == set()
    names = [found.name for found in relations() if found.kind in ("table", "stored", "view")]
    with open_serving(one) as a, open_serving(warehouse) as b:
        names = [name for name in names if name not in ("parquet_files", "generation")]
        for name in names:
            described = [connection.execute(f"describe {name}").fetchall() for connection in (a, b)]
            columns = [[(column, kind) for column, kind, *_ in found] for found in described]
            assert columns[0] == columns[1], name
        # A sum of the same addends in another order differs in its last digit, the error of
        # what is 1 in each row (the whole of a cumulative share) in its eighth.
        assert assert_same_rows(b, a, names, 1e-9, 1e-7) > 3_000
        comments = "select comment from duckdb_views() where view_name = 'head_ablations'"
        assert "One row per ablation" in str(b.execute(comments).fetchone())


@pytest.mark.usefixtures("all_outside")
def test_publishing_another_run_touches_no_file_of_the_first(
    warehouse: Warehouse, sql: Path
) -> None:
    publish(warehouse, measured(warehouse, "a"), source=sql)
    before, first = files(warehouse), shown(warehouse)
    stamps = {path: path.stat().st_mtime_ns for path in before}
    assert before == set(outside_of(current(warehouse) or Path()))
    publish(warehouse, measured(warehouse, "b", seed=2), source=sql)
    assert {path: path.stat().st_mtime_ns for path in before} == stamps
    both = shown(warehouse)
    assert [row for row in both["head_ablations"] if row[0] == "a"] == first["head_ablations"]
    with open_serving(warehouse) as connection:
        inside = connection.execute("select count(*) from head_ablations_inside").fetchone()
        named = connection.execute("select file, n_rows, n_bytes from parquet_files").fetchall()
    assert inside == (0,)
    assert {warehouse.root / file for file, _, _ in named} == files(warehouse)
    for file, n_rows, n_bytes in named:
        path = warehouse.root / file
        assert is_intact(path, afresh=True)
        assert path.stat().st_size == n_bytes
        assert len(pq.read_table(path)) == n_rows
    publish(warehouse, measured(warehouse, "b", seed=2), source=sql)
    assert shown(warehouse) == both, "and again"


def test_a_run_that_becomes_large_leaves_the_file(
    warehouse: Warehouse, sql: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And one that becomes small returns to it; so do the tables' own names."""
    publish(warehouse, measured(warehouse, "a"), source=sql)
    before = shown(warehouse)
    assert files(warehouse) == set()
    with monkeypatch.context() as large:
        large.setattr(outside, "RUN_INSIDE_AT_MOST", 0)
        large.setattr(outside, "TABLE_INSIDE_AT_MOST", 0)
        publish(warehouse, measured(warehouse, "a"), source=sql)
        assert shown(warehouse) == before
        assert files(warehouse)
    publish(warehouse, measured(warehouse, "a"), source=sql)
    publish(warehouse, measured(warehouse, "a"), source=sql)
    assert shown(warehouse) == before
    with open_serving(warehouse) as connection:
        tables = [name for (name,) in connection.execute("show tables").fetchall()]
    assert [name for name in tables if name.endswith(outside.INSIDE)] == []
    assert files(warehouse) == set(), "no generation names them any longer"
    assert list(warehouse.outside.rglob("*")) == []


@pytest.mark.usefixtures("all_outside")
def test_a_warehouse_can_be_moved(warehouse: Warehouse, sql: Path) -> None:
    publish(warehouse, measured(warehouse, "a"), source=sql)
    before = shown(warehouse)
    moved = Warehouse(warehouse.root.with_name("elsewhere, it's [there]"))
    shutil.move(warehouse.root, moved.root.with_name("there"))
    assert shown(Warehouse(moved.root.with_name("there"))) == before
    shutil.move(moved.root.with_name("there"), moved.root)
    with pytest.raises(WarehouseError, match="move the warehouse to a folder without one"):
        open_serving(moved)
    with pytest.raises(WarehouseError, match="move the warehouse to a folder without one"):
        publish(moved, measured(moved, "b"), source=sql)
    delete(moved, "a", source=sql)
    publish(moved, measured(moved, "b"), source=sql)
    assert files(moved) == set(), "what is published there lies inside"


@pytest.mark.usefixtures("all_outside")
def test_dropped_shards_and_other_definitions(warehouse: Warehouse, sql: Path) -> None:
    """Files outside are named again, not written again; a newer column is null in them."""
    publish(warehouse, measured(warehouse, "old"), keep_shards=False, source=sql)
    before, facts = shown(warehouse), {"tokens", "head_ablations", "direct_effects"}
    there = {path for path in files(warehouse) if path.parents[1].name in facts}
    stamps = {path: path.stat().st_mtime_ns for path in there}
    tokens = sql / "tables" / "tokens.sql"
    tokens.write_text(tokens.read_text().replace("\n);", ",\n    newer float\n);"))
    toml = (sql / "columns.toml").read_text()
    (sql / "columns.toml").write_text('newer = "a newer column"\n' + toml)
    RunTable(warehouse, "tokens", "old").manifest_path.write_text("{}")  # nobody needs it
    publish(warehouse, measured(warehouse, "new"), source=sql)
    after = shown(warehouse)
    assert [r for r in after["tokens"] if r[0] == "old"] == [(*r, None) for r in before["tokens"]]
    for table in ("head_ablations", "by_layer"):
        assert [r for r in after[table] if r[0] == "old"] == before[table]
    assert {path: path.stat().st_mtime_ns for path in there} == stamps


def test_an_older_warehouses_large_run_goes_out(
    warehouse: Warehouse, sql: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was published whole into the file, whose shards are gone."""
    publish(warehouse, measured(warehouse, "old"), keep_shards=False, source=sql, one_file=True)
    before = shown(warehouse)
    assert files(warehouse) == set()
    monkeypatch.setattr(outside, "RUN_INSIDE_AT_MOST", 0)
    monkeypatch.setattr(outside, "TABLE_INSIDE_AT_MOST", 0)
    runs = sql / "tables" / "runs.sql"
    runs.write_text(runs.read_text().replace("    device varchar not null,\n", ""))
    row = measured(warehouse, "new")
    del row["device"]
    publish(warehouse, row, source=sql)
    assert "run=old" in {path.parent.name for path in files(warehouse)}
    after = shown(warehouse)["head_ablations"]
    assert [r for r in after if r[0] == "old"] == before["head_ablations"]


@pytest.mark.usefixtures("all_outside")
def test_a_visitors_statement_reaches_them_and_nothing_else(
    warehouse: Warehouse, sql: Path
) -> None:
    publish(warehouse, measured(warehouse, "a"), source=sql)
    file = current(warehouse) or Path()

    def asked(statement: str) -> sql_console.Result:
        return sql_console.run(file, statement, outside=outside_of(file))

    result = asked("select count(*) as n from head_ablations")
    assert result.error is None
    assert result.table is not None
    assert result.table.to_pylist() == [{"n": 96}]
    views = asked("select sql from duckdb_views() where not internal")
    assert views.table is not None
    assert "read_parquet" in str(views.table.to_pylist())
    assert str(warehouse.root) not in str(views.table.to_pylist()), "no path of this machine"
    shard = next((warehouse.root / "facts").rglob("*.parquet"))
    assert asked(f"from '{shard}'").table is None, "a file that no view names"
    shard = next(iter(files(warehouse)))
    name = shard.relative_to(warehouse.root)
    for hidden in (f"select filename from '{name}'", f"select filename from '{shard}'"):
        refused = asked(hidden)
        assert refused.table is None
        assert str(warehouse.root) not in str(refused.error), "nor where it lies"
    before = {path: path.read_bytes() for path in files(warehouse)}
    written = asked(f"copy (select 1) to '{shard}'")
    assert "refused" in str(written.error)
    assert {path: path.read_bytes() for path in files(warehouse)} == before


def test_the_command_line_finds_them(warehouse: Warehouse, sql: Path, all_outside: None) -> None:
    publish(warehouse, measured(warehouse, "a"), source=sql)
    asked = "select count(*) as n from head_ablations"
    prompt = ("sql", "--warehouse", warehouse.root, "-json")
    code, out, err = installed(*prompt, "-c", asked, cwd="/")
    assert code == 0, err
    assert json.loads(out) == [{"n": 96}]


def test_a_name_from_elsewhere_stays_in_its_folder(warehouse: Warehouse) -> None:
    """Parts are named after ablations, which an import may have from anywhere."""
    with working_connection(warehouse) as connection:
        file = outside.write(
            connection, warehouse, "a", "tokens", "../../x/../a.b-0", "select 1 as token"
        )
    assert file is not None
    assert is_intact(warehouse.root / str(file["file"]))
    assert Path(str(file["file"])).parent == Path("published/tokens/run=a")


def test_without_landlock_the_page_says_what_it_does_not_read() -> None:
    statement = object.__new__(sql_console.Statement)
    statement.statement, statement._began, statement._cancelled = "", 0.0, False
    statement._seconds, statement._memory_mb = 1.0, 1
    error = 'Permission Error: Cannot access file "published/t/run=a/rows.1.parquet"'
    said = {"ok": False, "landlock": False, "error": error}
    for there, words in ((["/a/b"], "ask `selfrepair sql`"), ([], "published/t")):
        statement._request = {"outside": there}
        assert words in str(statement._read(json.dumps(said).encode() + b"\n", 0).error)


@pytest.mark.usefixtures("all_outside")
def test_no_file_of_the_current_folder_is_read_in_the_place_of_the_warehouses(
    warehouse: Warehouse, tmp_path: Path, sql: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(warehouse, measured(warehouse, "a"), source=sql)
    copy = tmp_path / "copy"
    shutil.copytree(warehouse.outside, copy / "published")
    monkeypatch.chdir(copy)
    refused = "the current folder has a published/.* of its own.*: go to another folder"
    with pytest.raises(WarehouseError, match=refused):
        open_serving(warehouse)
    served = current(warehouse)
    with pytest.raises(WarehouseError, match=refused):
        publish(warehouse, measured(warehouse, "b"), source=sql)
    assert current(warehouse) == served
    code, _, err = installed("sql", "--warehouse", warehouse.root, "-c", "from runs")
    assert code == 2
    assert "go to another folder" in err
    monkeypatch.chdir(warehouse.root)  # where they are the same files
    with open_serving(warehouse) as connection:
        assert connection.execute("select count(*) from head_ablations").fetchall() == [(96,)]


@pytest.mark.usefixtures("all_outside")
def test_a_new_runs_files_are_not_mistaken_for_those_of_the_current_folder(
    warehouse: Warehouse, tmp_path: Path, sql: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is named yet when it is published; its files have the names of what they hold."""
    other = Warehouse(tmp_path / "other").prepare()
    publish(other, measured(other, "a"), source=sql)
    monkeypatch.chdir(other.root)
    with pytest.raises(WarehouseError, match="go to another folder"):
        publish(warehouse, measured(warehouse, "a"), source=sql)
    assert current(warehouse) is None
