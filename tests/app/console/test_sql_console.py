"""Hostile statements: each is refused or bounded, and the warehouse stays as it was."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from selfrepair.app.console import sql_console
from selfrepair.app.console.sql_console import Statement, run
from selfrepair.warehouse.paths import Warehouse
from tests.helpers.hostile.hostile_statements import state
from tests.helpers.runs.app_runs import page, publish_run, said, sound

SECONDS = 3.0

# What must be refused at once. {folder} is one that the app could write to.
REFUSED = [
    "select * from read_text('/etc/passwd')",
    "select * from read_csv('/etc/passwd')",
    "select * from read_blob('{folder}/*')",
    "from '/etc/passwd'",
    "from '{folder}/victim.parquet'",
    "select * from glob('/*')",
    "select * from read_parquet('https://example.org/x.parquet')",
    "from sniff_csv('/etc/passwd')",
    "copy (select 1) to '{folder}/out.csv'",
    "copy runs to '{folder}/victim.parquet' (format parquet)",
    "with x as (copy (select 1) to '{folder}/out.csv') select 1",
    "copy runs from '/etc/passwd'",
    "copy (select 'x') to '/dev/stdout'",
    "export database '{folder}/out'",
    "import database '{folder}/out'",
    "attach '{folder}/other.db' as other",
    "attach '{folder}/other.db' as other (read_only)",
    "install httpfs",
    "force install httpfs",
    "load '{folder}/evil.duckdb_extension'",
    "load httpfs",
    "set memory_limit = '100GB'",
    "set lock_configuration = false",
    "set enable_external_access = true",
    "set global threads = 64",
    "reset max_execution_time",
    "pragma memory_limit = '100GB'",
    "pragma enable_profiling = 'json'",
    "set temp_directory = '{folder}'",
    "create table mine as select 1",
    "create or replace view head_summary as select 1",
    "drop table runs",
    "delete from runs",
    "update runs set model = 'mine'",
    "insert into runs select * from runs",
    "alter table runs add column mine integer",
    "comment on table runs is 'mine'",
    "create secret mine (type s3, key_id 'a', secret 'b')",
    "select 1; select 2",
    "select 1; copy (select 1) to '{folder}/out.csv'",
    "select * from query('copy (select 1) to ''{folder}/out.csv''')",
    "from python_variable",
    "",
    "not sql at all",
]
# What would take for ever, or all memory: it ends within the limits.
BOUNDED = [
    "select count(*) from range(1000000000) a, range(1000000) b where a.range * b.range % 7 = 3",
    "with recursive t as (select 1 i union all select i + 1 from t) select count(*) from t",
    "with recursive t as (select 'x' s union all select s || s from t) select count(*) from t",
    "select repeat('x', 10000000000)",
    "select repeat(repeat('x', 1000000), 3000)",
    "select list(range) from range(10000000000)",
    "create temp table t as select random() from range(10000000000)",
    "select range % 1000000000 as g, count(*) from range(100000000000) group by g",
    "select * from range(100000000000) order by random()",
]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("published")
    publish_run(root, "toy", ablations=["resample"])
    return root


@pytest.fixture(scope="module")
def file(root: Path) -> Path:
    return Warehouse(root).generation(1)


def test_there_are_forty_hostile_statements() -> None:
    assert len(set(REFUSED + BOUNDED)) >= 40


def test_what_reaches_out_or_writes_is_refused(root: Path, file: Path, tmp_path: Path) -> None:
    (tmp_path / "victim.parquet").write_bytes(b"untouched")
    before, beside = state(root), state(tmp_path)
    for statement in REFUSED:
        told = run(file, statement.replace("{folder}", str(tmp_path)), seconds=SECONDS)
        assert told.table is None, statement
        assert told.error, statement
    assert state(root) == before
    assert state(tmp_path) == beside


@pytest.mark.parametrize("statement", BOUNDED)
def test_what_would_never_end_is_bounded(root: Path, file: Path, statement: str) -> None:
    before, began = state(root), time.monotonic()
    told = run(file, statement, seconds=SECONDS)
    assert told.table is None
    assert told.error
    assert time.monotonic() - began < SECONDS + 12
    assert state(root) == before
    again = run(file, "select count(*) as n from runs")
    assert again.table is not None
    assert again.table.to_pylist() == [{"n": 1}]


def test_reading_works_and_the_rows_are_limited(file: Path) -> None:
    told = run(file, "select range as n from range(100000)", most_rows=1000)
    assert told.error is None
    assert told.more
    assert told.table is not None
    assert told.table.num_rows == 1000
    whole = run(file, "from head_summary")
    assert whole.table is not None
    assert whole.table.num_rows == 6
    assert not whole.more


def test_a_large_result_is_not_carried_over(file: Path) -> None:
    told = run(file, "select repeat('x', 1000000) as x from range(1000)")
    assert told.error is not None
    assert "larger than" in told.error


def test_the_environment_is_not_the_apps(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/of-the-app")
    worker = tmp_path / "worker.py"
    worker.write_text(
        "import json, os; "
        "print(json.dumps({'landlock': True, 'ok': False, 'error': str(os.environ)}))"
    )
    monkeypatch.setattr(sql_console, "WORKER", worker)
    error = run(file, "select 1").error
    assert error is not None
    assert "environ(" in error
    assert "of-the-app" not in error


def test_a_worker_that_breaks_is_one_line(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = tmp_path / "worker.py"
    monkeypatch.setattr(sql_console, "WORKER", worker)
    for code in ("print('no answer')", "import os; os.abort()", "print('{}')"):
        worker.write_text(code)
        told = run(file, "select 1")
        assert told.error
        assert "\n" not in told.error


def test_cancel_ends_it_at_once(file: Path) -> None:
    statement = Statement(file, BOUNDED[0], seconds=60)
    time.sleep(1.0)
    assert statement.result is None
    began = time.monotonic()
    statement.cancel()
    told = statement.wait()
    assert told.error == "cancelled"
    assert time.monotonic() - began < 3


def test_statements_wait_for_each_other(file: Path) -> None:
    many = [Statement(file, "select 1 as one") for _ in range(2 * sql_console.AT_ONCE)]
    tables = [statement.wait().table for statement in many]
    assert [table.num_rows for table in tables if table is not None] == [1] * len(many)


def test_no_worker_is_left_behind(file: Path) -> None:
    statement = Statement(file, BOUNDED[1], seconds=1)
    statement.wait()
    process = statement._process
    assert process is not None
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)


def until_it_ended(test: AppTest) -> AppTest:
    """The page, run again until the statement has ended."""
    began = time.monotonic()
    while not test.dataframe and not test.error:
        assert time.monotonic() - began < 20
        time.sleep(0.2)
        test = test.run()
    return test


def press_run(test: AppTest) -> AppTest:
    [run_button] = [button for button in test.button if button.label == "Run"]
    return run_button.click().run()


def test_a_statement_that_came_with_a_link_waits_for_a_click(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []
    monkeypatch.setattr(
        "selfrepair.app.console.sql_console.Statement._run",
        lambda self: started.append(self.statement),
    )
    test = sound(page(root, "sql", monkeypatch, sql="select 6 * 7 as answer"))
    for _ in range(3):
        assert test.text_area[0].value == "select 6 * 7 as answer"
        assert "has not been run" in test.info[0].value
        assert not test.dataframe
        test = sound(test.run())
    assert started == []
    monkeypatch.undo()
    monkeypatch.setenv("SELFREPAIR_WAREHOUSE", str(root))
    test = sound(until_it_ended(press_run(test)))
    assert "answer" in test.dataframe[0].value
    assert "1 rows" in said(test)


def test_the_page_goes_on_after_a_refused_statement(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = until_it_ended(press_run(page(root, "sql", monkeypatch, sql="drop table runs")))
    assert "refused" in test.code[0].value
    assert not test.exception
    sound(test.switch_page("app_pages/model.py").run())


def test_an_error_is_text_and_never_markdown(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "select error('# big **bold** [link](http://evil.example) :red[x] $x^2$')"
    test = until_it_ended(press_run(page(root, "sql", monkeypatch, sql=text)))
    assert "# big **bold** [link](http://evil.example) :red[x] $x^2$" in test.code[0].value
    for one in (*test.error, *test.markdown):
        assert "evil.example" not in one.value


# Each was a traceback in the page.
SHOWN = {
    "a union": "select union_value(k := 1) as u",
    "dates beyond Python's": "select date '290000-01-01' as d, date '5877642-06-25 (BC)' as e",
    "times beyond Python's": "select timestamp '290000-01-01 00:00:00' as t, 'infinity'::timestamp",
    "two columns of one name": 'select 1 as a, 2 as a, 3 as "a (2)"',
    "every type that there is": "from test_all_types()",
    "an interval": "select interval 1 month as i, 3 as n",
    "a number of 128 bits": "select 170141183460469231731687303715884105727 as n, sum(1) as m",
    "decimals": "select 1.5 as d, 12345678901234567890.123456789 as e",
    "lists and structs": "select [1, 2] as l, {'a': 1} as s, map {'k': 1} as m, [[1]] as ll",
    "bytes and bits": "select '\\xAA'::blob as b, '0101'::bit as c, uuid() as u",
    "null alone": "select null as x",
    "no rows": "select 1 as x where false",
    "not a number": "select 'nan'::double as x, 'inf'::float as y",
    "enums": "select 'a'::enum ('a', 'b') as e, true as t",
    "a name without letters": 'select 1 as " ", 2 as "<b>x</b>", 3 as "**y**"',
}


@pytest.mark.parametrize("case", SHOWN)
def test_whatever_a_statement_answers_is_shown_and_drawn(
    case: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = sound(until_it_ended(press_run(page(root, "sql", monkeypatch, sql=SHOWN[case]))))
    rows = test.dataframe[0].value
    assert len(set(rows.columns)) == len(rows.columns)
    selects = {box.label: box for box in test.selectbox}
    if "x" not in selects:  # nothing that is a number
        return
    for label in ("x", "Colour"):
        for option in selects[label].options:
            test = sound(next(b for b in test.selectbox if b.label == label).select(option).run())


def test_numbers_stay_numbers(file: Path) -> None:
    told = run(
        file, "select sum(range) as s, avg(range) as a, 1.5 as d, max(range) m from range(4)"
    )
    assert told.table is not None
    assert told.table.to_pylist() == [{"s": 6, "a": 1.5, "d": 1.5, "m": 3}]


def test_rows_keep_their_order(file: Path) -> None:
    told = run(file, "select range as n from range(9000) order by n desc")
    assert told.table is not None
    assert told.table["n"].to_pylist() == list(range(8999, -1, -1))


def test_the_browser_is_asked_after_every_widget(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answer cuts the script off: a widget that it has not got yet would be emptied."""
    test = sound(page(root, "sql", monkeypatch))
    kinds = [element.type for element in walked(test.main)]
    asked = kinds.index("bidi_component")
    before, after = set(kinds[:asked]), set(kinds[asked:])
    assert {"text_area", "button", "selectbox"} <= before
    assert not after & {"text_area", "button", "selectbox", "button_group", "text_input"}


def walked(block: Any) -> Iterator[Any]:
    for child in block.children.values():
        yield child
        yield from walked(child) if hasattr(child, "children") else ()
