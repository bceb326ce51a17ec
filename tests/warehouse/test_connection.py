"""The connections that heavy work uses: what they keep in memory, and what they leave as it is."""

import subprocess
import sys
from pathlib import Path

import duckdb

from selfrepair.warehouse.connection import MEMORY_AT_MOST, dead_spills, working_connection
from selfrepair.warehouse.layers_together import ROWS_AT_ONCE
from selfrepair.warehouse.paths import Warehouse
from selfrepair.warehouse.published import stored_results
from selfrepair.warehouse.sql_files import Relation


def row_groups(database: Path, table: str) -> int:
    with duckdb.connect(str(database), read_only=True) as connection:
        found = connection.execute(
            f"select count(distinct row_group_id) from pragma_storage_info('{table}')"
        ).fetchone()
    assert found is not None
    return int(found[0])


def test_small_row_groups_stay_small_when_the_file_is_written_again(tmp_path: Path) -> None:
    # Left alone, DuckDB puts them together at the next checkpoint, which takes their memory.
    warehouse, database = Warehouse(tmp_path).prepare(), tmp_path / "made.duckdb"
    with working_connection(warehouse, database, row_group_rows=2_048) as connection:
        connection.execute("create table lists as select range as n from range(10_000)")
    assert row_groups(database, "lists") == 5
    with working_connection(warehouse, database) as connection:
        connection.execute("create table numbers as select range as n from range(10_000)")
        connection.execute("delete from lists where n < 4_096")
        connection.execute("insert into lists values (1)")
    assert row_groups(database, "numbers") == 1
    assert row_groups(database, "lists") >= 3


def test_memory_is_bounded_and_the_spill_folder_goes(tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path).prepare()
    with working_connection(warehouse) as connection:
        (limit,) = connection.execute(
            "select value from duckdb_settings() where name = 'memory_limit'"
        ).fetchall()[0]
        number, unit = limit.split()
        assert unit == "MiB"
        assert float(number) * 2**20 <= MEMORY_AT_MOST
        folder, lock = sorted(warehouse.scratch.iterdir())
        assert (folder.is_dir(), lock.name) == (True, f"{folder.name}.lock")
        with working_connection(warehouse):  # takes away what the dead left, and no more
            assert folder.is_dir()
    assert list(warehouse.scratch.iterdir()) == []


LEFT = """
import os, signal, sys
from selfrepair.warehouse.connection import working_connection
from selfrepair.warehouse.paths import Warehouse
with working_connection(Warehouse(sys.argv[1])):
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_spilled_goes(tmp_path: Path) -> None:
    """Its process number may be another's by now, or be on another machine: its lock tells."""
    warehouse = Warehouse(tmp_path).prepare()
    subprocess.run([sys.executable, "-c", LEFT, str(tmp_path)], check=False)
    assert len(dead_spills(warehouse)) == 2
    with working_connection(warehouse):
        assert dead_spills(warehouse) == []
    assert list(warehouse.scratch.iterdir()) == []


def test_what_a_layer_without_rows_comes_before_is_read_at_once(tmp_path: Path) -> None:
    # In one transaction, DuckDB 2.0 would count these rows and not read them.
    kept = Relation(
        "kept",
        "stored",
        "One row per number.",
        "",
        "select $run_id as run_id, n from numbers where layer between $first_layer and $last_layer",
        (),
    )
    warehouse, database = Warehouse(tmp_path).prepare(), tmp_path / "made.duckdb"
    with working_connection(warehouse, database, row_group_rows=2_048) as connection:
        connection.execute(
            "create table runs as select 'a' as run_id, 3 as n_layers, 1 as n_heads,"
            f" {ROWS_AT_ONCE} as n_tokens, ['zero'] as ablations"
        )
        connection.execute(
            "create table numbers as select range as n, 1 + range % 2 as layer from range(20_000)"
        )
        connection.execute("create table kept (run_id varchar, n bigint)")
        for _ in range(2):  # the second time, the first one's rows are replaced
            stored_results.fill(connection, kept, "a", "kept")
            read = connection.execute("select count(*), sum(n) from kept where n % 2 in (0, 1)")
            assert read.fetchone() == (20_000, 19_999 * 10_000)


def test_rows_are_not_grouped_by_position_below_a_join(warehouse: Warehouse) -> None:
    """A million groups of many sums, where seven are asked for, once failed a publishing."""
    sums = ", ".join(f"sum(x * {k}), count(x + {k})" for k in range(30))
    place = "range // 100 as sequence, range % 100 as position"
    with working_connection(warehouse, memory_limit="128MiB") as connection:
        connection.execute("set max_temp_directory_size = '0KB'")
        connection.execute(f"create table facts as select {place}, 1.5 as x from range(1_000_000)")
        connection.execute(
            f"create table clusters as select {place}, range % 7 as c from range(1_000_000)"
        )
        asked = f"select c, {sums} from facts join clusters using (sequence, position) group by c"
        assert len(connection.execute(asked).fetchall()) == 7
