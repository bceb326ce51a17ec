"""Publishing while others read, publish, are killed, or the disk fills: whole generations only."""

import fcntl
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from selfrepair.warehouse.errors import WarehouseError
from selfrepair.warehouse.paths import Warehouse
from selfrepair.warehouse.published.publish import publish
from selfrepair.warehouse.published.read import current_generation, open_serving
from selfrepair.warehouse.published.runs import published_runs
from tests.helpers.runs.cli_runs import python
from tests.helpers.runs.small_publishing import contents, measured
from tests.helpers.runs.small_run import run_row, write_run


def test_readers_see_no_torn_state_during_ten_publishings(warehouse: Warehouse, sql: Path) -> None:
    """Each publishing swaps all facts, and `runs` says which: a reader compares the two."""
    facts, rows, sums = warehouse.root / "facts", [], {}
    for seed in range(2):
        rows.append(measured(warehouse, corpus=str(seed), seed=seed))
        publish(warehouse, rows[seed], source=sql)
        sums[str(seed)] = contents(warehouse)["by_layer"]
        facts.rename(warehouse.root / f"facts {seed}")
    assert sums["0"] != sums["1"]
    seen: list[Any] = []
    finished = threading.Event()

    def read() -> None:
        while not finished.wait(0.01):
            try:
                with open_serving(warehouse) as connection:
                    ((corpus,),) = connection.execute("select corpus from runs").fetchall()
                    stored = connection.execute("from by_layer order by all").fetchall()
                    now = connection.execute(
                        "select run_id, layer, round(avg(self_repair), 4)"
                        " from self_repair group by all order by all"
                    ).fetchall()
                seen.append(corpus if stored == now == sums[corpus] else (corpus, stored, now))
            except Exception as error:
                seen.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    for i in range(10):
        facts.unlink(missing_ok=True)
        facts.symlink_to(warehouse.root / f"facts {i % 2}")
        publish(warehouse, rows[i % 2], source=sql)
    finished.set()
    reader.join()
    assert {what for what in seen if isinstance(what, str)} == {"0", "1"}
    assert [what for what in seen if not isinstance(what, str)] == []


def test_two_publishers_queue(warehouse: Warehouse, sql: Path) -> None:
    rows = [measured(warehouse, run_id, seed=i) for i, run_id in enumerate("abc")]
    waited: list[str] = []
    errors: list[Exception] = []

    def work(row: dict[str, Any]) -> None:
        try:
            publish(warehouse, row, source=sql, progress=lambda _, step: waited.append(step))
        except Exception as error:
            errors.append(error)

    with warehouse.lock.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        threads = [threading.Thread(target=work, args=(row,)) for row in rows]
        for thread in threads:
            thread.start()
        while waited.count("waiting for another publisher") < 3 and not errors:
            time.sleep(0.01)
        assert current_generation(warehouse) is None
    for thread in threads:
        thread.join()
    assert errors == []
    assert published_runs(warehouse) == ["a", "b", "c"]
    assert current_generation(warehouse) == 3


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.helpers.runs.small_run import run_row
from selfrepair.warehouse.paths import Warehouse
from selfrepair.warehouse.published.publish import publish

root, source, moment = sys.argv[1:]

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def progress(done, step):
    if step.startswith(moment):
        die()

replace, after = os.replace, {
    "after the checksum": ".duckdb.sha256",
    "after the rename": "000003.duckdb",
    "after the swap": "selfrepair.duckdb",
}
def watched(*names):
    replace(*names)
    if moment in after and str(names[1]).endswith(after[moment]):
        die()
os.replace = watched
publish(Warehouse(root), run_row(corpus="new"), progress=progress, source=Path(source))
"""


def test_killed_at_any_moment_a_whole_generation_is_served(warehouse: Warehouse, sql: Path) -> None:
    publish(warehouse, measured(warehouse, "other", seed=1), source=sql)  # is copied along
    publish(warehouse, measured(warehouse, corpus="old"), source=sql)
    before = contents(warehouse, "runs")
    for moment, served in [
        ("copying the last", "old"),
        ("computing by_layer", "old"),
        ("serving the new", "old"),
        ("after the checksum", "old"),
        ("after the rename", "old"),
        ("after the swap", "new"),
    ]:
        arguments = [sys.executable, "-c", KILLED, str(warehouse.root), str(sql), moment]
        assert subprocess.run(arguments, check=False).returncode == -9, moment
        assert contents(warehouse, "runs") == before, moment
        with open_serving(warehouse) as connection:
            corpus = connection.execute("select corpus from runs where run_id = 'toy'")
            assert corpus.fetchall() == [(served,)], moment
    publish(warehouse, run_row(corpus="newest"), source=sql)  # works, and cleans up
    assert contents(warehouse, "runs") == before
    assert len(list(warehouse.generations.glob("*.duckdb"))) == 2
    assert len(names(warehouse)) == 4  # each with its checksum
    assert list(warehouse.scratch.iterdir()) == []


def test_what_killed_ones_left_is_in_nobodys_way(warehouse: Warehouse, sql: Path) -> None:
    row = measured(warehouse)
    publish(warehouse, row, source=sql)
    log = b"not a write-ahead log"
    Path(f"{warehouse.serving}.wal").write_bytes(log)
    Path(f"{warehouse.generation(2)}.wal").write_bytes(log)
    building = warehouse.generations / "selfrepair-000002.building"
    building.write_bytes(b"half a file")
    Path(f"{building}.wal").write_bytes(log)
    publish(warehouse, row, source=sql)
    with duckdb.connect(str(warehouse.serving), read_only=True) as connection:
        assert connection.execute("select generation from generation").fetchall() == [(2,)]
    assert not Path(f"{warehouse.serving}.wal").exists()
    assert not building.exists()


def names(warehouse: Warehouse) -> list[str]:
    return sorted(path.name for path in warehouse.generations.iterdir())


def broken_row(warehouse: Warehouse, sql: Path) -> dict[str, Any]:
    return {k: v for k, v in run_row().items() if k != "engine"}


def broken_view(warehouse: Warehouse, sql: Path) -> dict[str, Any]:
    (sql / "views" / "wrong.sql").write_text("-- One row.\nselect no_such_column as x from runs")
    return run_row()


def broken_shard(warehouse: Warehouse, sql: Path) -> dict[str, Any]:
    shard = next(warehouse.facts("tokens", "toy").glob("*.parquet"))
    shard.write_bytes(shard.read_bytes()[:-1] + b"!")
    return run_row()


def two_specs(warehouse: Warehouse, sql: Path) -> dict[str, Any]:
    other = write_run(Warehouse(warehouse.root / "other"), run_row(), fingerprint="g" * 64)
    shutil.rmtree(warehouse.facts("tokens", "toy"))
    shutil.copytree(other["tokens"][0].parent, warehouse.facts("tokens", "toy"))
    return run_row()


def table_gone(warehouse: Warehouse, sql: Path) -> dict[str, Any]:
    shutil.rmtree(warehouse.facts("tokens", "toy"))
    return run_row()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (broken_row, r"a row of runs: missing \['engine'\]"),
        (broken_view, 'no_such_column" not found'),
        (broken_shard, "is damaged, it is not what was measured"),
        (two_specs, "is not that of the run's plan"),
        (table_gone, "toy is not measured to the end: of tokens, 2 of 2 shards are missing"),
    ],
)
def test_a_failed_publishing_changes_nothing(
    warehouse: Warehouse, sql: Path, spoil: Any, message: str
) -> None:
    publish(warehouse, measured(warehouse), source=sql)
    before = contents(warehouse)
    row = spoil(warehouse, sql)
    with pytest.raises(WarehouseError, match=message) as told:
        publish(warehouse, row, source=sql)
    assert "\n" not in str(told.value)
    assert current_generation(warehouse) == 1
    assert contents(warehouse) == before
    assert names(warehouse) == ["selfrepair-000001.duckdb", "selfrepair-000001.duckdb.sha256"]


FULL = """
import resource, sys
from pathlib import Path
from tests.helpers.runs.small_run import run_row
from selfrepair.warehouse.errors import WarehouseError
from selfrepair.warehouse.paths import Warehouse
from selfrepair.warehouse.published.publish import publish
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))  # as a disk that fills up
try:
    publish(Warehouse(sys.argv[1]), run_row(), source=Path(sys.argv[2]))
except WarehouseError as error:
    print(error)
"""


def test_no_room_is_one_clear_line(warehouse: Warehouse, sql: Path) -> None:
    publish(warehouse, measured(warehouse), source=sql)
    before = contents(warehouse)
    told = python(FULL, warehouse.root, sql)
    assert told.startswith("cannot publish toy: ")
    assert told.count("\n") == 1
    assert contents(warehouse) == before
    assert names(warehouse) == ["selfrepair-000001.duckdb", "selfrepair-000001.duckdb.sha256"]


@pytest.fixture
def writer(warehouse: Warehouse, sql: Path) -> Iterator[None]:
    """Another process has the published file open for writing."""
    publish(warehouse, measured(warehouse), source=sql)
    code = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(warehouse.serving)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield
        process.kill()


@pytest.mark.usefixtures("writer")
def test_a_file_open_for_writing_elsewhere_is_not_copied(warehouse: Warehouse, sql: Path) -> None:
    with pytest.raises(WarehouseError, match="is open for writing in another program"):
        publish(warehouse, run_row(), source=sql)
    assert current_generation(warehouse) == 1


def test_nothing_published_yet_is_one_clear_line(tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path / "nowhere")
    assert current_generation(warehouse) is None
    with pytest.raises(WarehouseError, match=r"nothing is published in .*: run `selfrepair run"):
        open_serving(warehouse)
    assert not warehouse.root.exists()


def test_a_file_in_the_stable_names_place_is_not_overwritten(
    warehouse: Warehouse, sql: Path
) -> None:
    warehouse.serving.write_bytes(b"somebody's own")
    with pytest.raises(WarehouseError, match="is not the link that publishing makes"):
        publish(warehouse, measured(warehouse), source=sql)
    with pytest.raises(WarehouseError, match="is not the link that publishing makes"):
        open_serving(warehouse)
    assert warehouse.serving.read_bytes() == b"somebody's own"
