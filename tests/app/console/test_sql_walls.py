"""Each wall of the SQL page alone keeps 300 hostile statements from changing anything."""

import json
import logging
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from selfrepair.app.console import landlock, sql_console, sql_wall
from selfrepair.app.console.sql_examples import EXAMPLES
from selfrepair.warehouse.paths import Warehouse
from selfrepair.warehouse.published.read import open_serving
from tests.helpers.hostile.hostile_statements import FIRST, state, statements
from tests.helpers.runs.app_runs import publish_run
from tests.helpers.runs.cli_runs import python


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("published")
    publish_run(root, "toy", ablations=["resample"], details=True)
    return root


@pytest.fixture
def root(published: Path, tmp_path: Path) -> Path:
    """A copy, to be attacked."""
    return Path(shutil.copytree(published, tmp_path / "warehouse", symlinks=True))


@pytest.fixture
def beside(tmp_path: Path) -> Path:
    beside = tmp_path / "beside"
    beside.mkdir()
    (beside / "victim.csv").write_text("a,b\n1,2\n")
    return beside


def ask(wall: str, file: Path, texts: list[str], unchanged: list[Path]) -> Counter[str]:
    """Has one wall alone stand against the statements; what came of each, counted."""
    before = state(*unchanged)
    said: Counter[str] = Counter()
    with subprocess.Popen(
        [sys.executable, "-m", "tests.helpers.hostile.hostile_child", wall, str(file)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert int(child.stdout.readline()) > 2
        for text in texts:
            child.stdin.write(json.dumps(text) + "\n")
            child.stdin.flush()
            line = child.stdout.readline()
            assert line, f"the process ended at: {text}"
            said[line.partition(":")[0].strip()] += 1
            assert state(*unchanged) == before, f"changed by: {text}"
        child.stdin.close()
    assert state(*unchanged) == before
    return said


@pytest.fixture(params=["held", "held by nobody"])
def file(request: pytest.FixtureRequest, root: Path) -> Iterator[Path]:
    """The published file: a reader has it open, or nobody."""
    file = Warehouse(root).generation(1)
    if request.param == "held":
        with open_serving(Warehouse(root)) as reader:
            assert reader.execute("select count(*) from runs").fetchone() == (1,)
            yield file
    else:
        yield file


@pytest.mark.parametrize("wall", ["landlock", "statement"])
def test_three_hundred_hostile_statements_change_nothing(
    wall: str, root: Path, file: Path, beside: Path
) -> None:
    texts = statements(file, Warehouse(root).serving, beside)
    assert len(texts) >= 300
    said = ask(wall, file, texts, [root, beside])
    print(wall, len(texts), dict(said))
    if wall == "statement":  # each is refused, or is no SQL, before it could do anything
        assert said["rows"] == 0, said
    else:  # the kernel's wall does not read SQL: some only read, and are answered
        assert said["rows"] < len(texts) / 4


def test_without_walls_they_do_change_something(root: Path, beside: Path) -> None:
    """The statements are no straw men: the first of them removes the published file."""
    file = Warehouse(root).generation(1)
    with duckdb.connect(str(file), read_only=True, config={"enable_external_access": False}) as c:
        text = FIRST[0]
        with pytest.raises(duckdb.Error):
            c.execute(text)
    assert not file.is_file()


HONEST = [
    "select 1",
    "from runs",
    "table runs",
    "values (1), (2)",
    "show tables",
    "show all tables",
    "describe runs",
    "describe select 1",
    "summarize runs",
    "select * from (describe runs)",
    "explain select * from runs",
    "explain analyze select * from runs",
    "explain (format json) select 1",
    "explain /* ä ö ü */ select 'ß' as x",
    "with x as (select 1 as a) select a from x",
    "with recursive t as (select 1 i union all select i + 1 from t where i < 3) from t",
    "pivot runs on model in ('toy') using count(*)",
    "unpivot (select 1 as a, 2 as b) on a, b",
    "select row_number() over (order by run_id) from runs",
    "from head_summary_at(0.05)",
    "select * from unnest([1, 2]) t(i), lateral (select i + 1)",
    "select list_transform([1, 2], lambda x: x + 1)",
    "select i, random() from range(3) t(i)",
    "select json_extract('{\"a\": 1}', '$.a')",
    'select 1 as "copy", 2 as "attach", 3 as load, \'copy to\' as set',
    "select column_name, comment from duckdb_columns() where table_name = 'head_summary'",
    "select * from information_schema.tables",
    "from duckdb_views() where not internal",
    "select * from runs a join runs b using (run_id) where a.run_id in (select run_id from runs)",
    "((select 1) union (select 2)) order by 1",
    "-- a comment\nselect 1 -- another\n;",
]


def test_honest_statements_are_let_through(root: Path) -> None:
    file = Warehouse(root).generation(1)
    for text in [*HONEST, *EXAMPLES.values()]:
        told = sql_console.run(file, text)
        assert told.error is None, f"{text}: {told.error}"
        assert told.table is not None
        assert told.table.num_rows, text


def test_a_deeply_nested_statement_is_one_line(root: Path) -> None:
    told = sql_console.run(Warehouse(root).generation(1), "select " + "(" * 3000 + "1" + ")" * 3000)
    assert told.table is None
    assert told.error
    assert len(told.error) < 500


def test_no_path_of_this_machine_is_told(root: Path, beside: Path) -> None:
    """Not the warehouse's, nor the interpreter's: in rows and in errors."""
    file = Warehouse(root).generation(1)
    secrets = [str(root), str(file.parent), sys.prefix, sys.base_prefix + "/lib", "sql_worker.py"]
    for text in [
        "from duckdb_settings()",
        "select current_setting('allowed_paths')",
        "from pragma_database_list",
        "copy runs to 'x.csv'",
        "from no_such_table",
        "show databases",
        "explain select * from runs",
        "from read_text('/etc/passwd')",
        "select error('x')",
        "select * from test_all_types()",
    ]:
        told = sql_console.run(file, text)
        shown = (told.error or "") + (str(told.table.to_pylist()) if told.table else "")
        assert not [secret for secret in secrets if secret in shown], text


def test_where_there_is_no_landlock_the_log_says_so_once(
    root: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    sql_console._warn_once.cache_clear()
    worker = Path(sql_console.__file__).with_name("sql_worker.py")
    blind = worker.read_text().replace(
        "from selfrepair.app.console import landlock, sql_wall",
        "from selfrepair.app.console import landlock, sql_wall\nlandlock.version = lambda: 0",
    )
    other = root.parent / "elsewhere" / "sql_worker.py"
    other.parent.mkdir()
    other.write_text(
        blind.replace("Path(__file__).absolute().parents[3]", f"'{worker.parents[3]}'")
    )
    monkeypatch.setattr(sql_console, "WORKER", other)
    file = Warehouse(root).generation(1)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            told = sql_console.run(file, "select 1 as one")
            assert told.table is not None, told.error
        refused = sql_console.run(file, FIRST[0])
    assert refused.error is not None
    assert refused.error.startswith("refused")
    assert [record.name for record in caplog.records] == ["selfrepair.app.console.sql_console"]
    assert "no Landlock" in caplog.text


def test_landlock_is_there_and_holds() -> None:
    """On the systems that the project's tests run on; elsewhere the page warns (above)."""
    assert landlock.version() >= 1
    code = """
import os, sys
from selfrepair.app.console import landlock
assert landlock.confine([sys.prefix, sys.base_prefix])
done = []
for name, do in {
    "write": lambda: open(sys.argv[1] + "/victim.csv", "r+"),
    "create": lambda: open(sys.argv[1] + "/new", "w"),
    "remove": lambda: os.unlink(sys.argv[1] + "/victim.csv"),
    "rename": lambda: os.rename(sys.argv[1] + "/victim.csv", sys.argv[1] + "/other"),
    "link": lambda: os.link(sys.argv[1] + "/victim.csv", sys.argv[1] + "/other"),
    "folder": lambda: os.mkdir(sys.argv[1] + "/folder"),
    "truncate": lambda: os.truncate(sys.argv[1] + "/victim.csv", 0),
    "read": lambda: open(sys.argv[1] + "/victim.csv"),
    "list": lambda: os.listdir(sys.argv[1]),
}.items():
    try:
        do()
        done.append(name)
    except PermissionError:
        pass
print(done)
"""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "victim.csv").write_text("a\n")
        allowed = [] if landlock.version() >= 3 else ["truncate"]
        assert python(code, folder) == f"{allowed}\n"
        assert os.listdir(folder) == ["victim.csv"]


def test_the_wall_names_what_it_refuses(root: Path) -> None:
    with open_serving(Warehouse(root)) as connection:
        for text, expected in {
            "with x as (copy (select 1) to 'x') select 1": "a part of this is COPY",
            "attach 'x'": "this is ATTACH",
            "from read_csv('x')": r"read_csv\(...\) is not available",
            "select current_setting('x')": r"current_setting\(...\) is not available",
            "pivot runs on model using count(*)": "name them, as in",
            "": "there is no statement",
            "select 1; select 2": "one statement at a time",
        }.items():
            with pytest.raises(ValueError, match=expected):
                sql_wall.check(connection, text)
