"""Dagster's history is not data: made once, told in one line where it is damaged, made anew."""

import random
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy

from selfrepair.dagster_project.instance import (
    history_problem,
    instance_of_command_line,
    make_history,
    move_history_away,
)
from selfrepair.warehouse.paths import Warehouse
from selfrepair.warehouse.published.runs import published_runs
from selfrepair_assets.assets.resources import models
from tests.helpers.models.families import save
from tests.helpers.runs.cli_runs import Said, installed, refused, small, snapshot
from tests.helpers.runs.small_run import run_row, write_run

DATABASES = ["history/runs.db", "history/runs/index.db", "schedules/schedules.db"]
MAKE = """
import os, sys
import dagster, selfrepair_assets.assets.resources
from selfrepair.dagster_project.instance import make_history
from selfrepair.warehouse.paths import Warehouse
sys.stdin.readline()
make_history(Warehouse(sys.argv[1]))
sys.stdout.flush()
os._exit(0)
"""


def heads(root: Path) -> list[int]:
    counts = []
    for name in DATABASES:
        with sqlite3.connect(root / "dagster" / name) as database:
            counts += database.execute("select count(*) from alembic_version").fetchone()
    return counts


def test_control_c_while_a_connection_is_closed_prints_no_traceback(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    def close(*_: object) -> None:
        raise KeyboardInterrupt

    def close_one() -> None:
        engine = sqlalchemy.create_engine("sqlite://", poolclass=sqlalchemy.NullPool)
        monkeypatch.setattr(engine.dialect, "do_close", close)
        with pytest.raises(KeyboardInterrupt), engine.connect():
            pass

    with instance_of_command_line(Warehouse(tmp_path)):
        close_one()
    assert not caplog.records
    close_one()  # so the test can fail
    assert "Exception closing connection" in caplog.text


def test_made_at_once_by_four_processes_it_has_one_version(tmp_path: Path) -> None:
    processes = [
        subprocess.Popen([sys.executable, "-c", MAKE, str(tmp_path)], stdin=subprocess.PIPE)
        for _ in range(4)
    ]
    for process in processes:  # all have imported what they need before one begins
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.flush()
    for process in processes:
        assert process.wait(120) == 0
    assert heads(tmp_path) == [1, 1, 1]
    assert history_problem(Warehouse(tmp_path), thorough=True) is None


def test_two_first_runs_at_once_both_publish_and_a_later_one_works(
    gpt2_folder: Path, tmp_path: Path
) -> None:
    """Of two models; of one, also three at once, they are kinds of `tests/faults`."""
    save("llama", tmp_path / "llama")
    runs = [gpt2_folder / "gpt2", tmp_path / "llama"]
    first_runs_at_once(runs, gpt2_folder / "text.txt", tmp_path / "data")


def first_runs_at_once(runs: list[Path], text: Path, root: Path) -> None:
    """Starts a run of each model at once in a warehouse that is not there, and one after them."""
    said: dict[Path, Said] = {}

    def run(model: Path) -> None:
        said[model] = installed("run", model, "--corpus", text, *small(), "--warehouse", root)

    threads = [threading.Thread(target=run, args=(model,)) for model in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for model, (code, _, err) in said.items():
        assert code == 0, f"{model}: {err[-2000:]}"
    assert published_runs(Warehouse(root)) == sorted(map(str, runs))
    run(runs[0])
    code, _, err = said[runs[0]]
    assert code == 0, err[-2000:]
    assert heads(root) == [1, 1, 1]


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def garbled(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[100 : len(data) // 2] = random.Random(3).randbytes(len(data) // 2 - 100)
    path.write_bytes(data)
    path.with_name(f"{path.name}-wal").unlink(missing_ok=True)


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def stamped_twice(path: Path) -> None:
    """What two processes left that made it at once, before there was a lock."""
    with sqlite3.connect(path) as database:
        database.execute("insert into alembic_version values ('567bc23fd1ac')")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made")
    make_history(Warehouse(root))
    return root


@pytest.mark.parametrize("database", DATABASES)
@pytest.mark.parametrize("damage", [emptied, garbled, a_folder, stamped_twice])
def test_a_damaged_history_is_known(
    made: Path, tmp_path: Path, damage: Callable[[Path], None], database: str
) -> None:
    root = tmp_path / "data"
    shutil.copytree(made, root)
    assert history_problem(Warehouse(root), thorough=True) is None
    damage(root / "dagster" / database)
    problem = history_problem(Warehouse(root))
    assert problem is not None
    assert database in problem
    assert "\n" not in problem


def test_it_is_one_line_and_moved_away_and_the_same_command_works(
    gpt2_warehouse: Path, gpt2_folder: Path, tmp_path: Path, selfrepair: Callable[..., Said]
) -> None:
    root, model = tmp_path / "data", str(gpt2_folder / "gpt2")
    shutil.copytree(gpt2_warehouse, root, symlinks=True)
    stamped_twice(root / "dagster" / "history" / "runs.db")
    before = snapshot(root)
    run = ("run", model, "--corpus", gpt2_folder / "text.txt", *small(), "--warehouse", root)
    for command in (run, ("delete", model, "--yes", "--warehouse", root)):
        line = refused(selfrepair(*command))
        assert "nothing measured or published is lost" in line
        assert "`selfrepair doctor --repair` moves it away" in line
        after = snapshot(root)
        kept = [
            name for name in before if not name.startswith("dagster/")
        ]  # SQLite tidies up there
        assert [after.get(name) for name in kept] == [before[name] for name in kept], command
    code, out, _ = selfrepair("doctor", "--warehouse", root)
    assert code == 1
    assert "2 versions are stamped on it, not one" in out
    code, out, _ = selfrepair("doctor", "--repair", "--warehouse", root)
    assert code == 0, out
    assert "repaired: moves it away" in out
    [aside] = root.glob("dagster.damaged-*")
    assert (aside / "history" / "runs.db").is_file()
    code, _, err = selfrepair(*run)
    assert code == 0, err
    with instance_of_command_line(Warehouse(root)) as instance:
        assert instance.has_dynamic_partition(str(models.name), model)


def test_a_new_history_knows_the_runs_of_the_warehouse(tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path).prepare()
    write_run(warehouse, run_row())
    make_history(warehouse)
    move_history_away(warehouse)
    make_history(warehouse)
    with instance_of_command_line(warehouse) as instance:
        assert instance.get_dynamic_partitions(str(models.name)) == ["toy"]


def test_delete_looks_before_it_asks(
    gpt2_warehouse: Path, tmp_path: Path, selfrepair: Callable[..., Said]
) -> None:
    root = tmp_path / "data"
    shutil.copytree(gpt2_warehouse, root, symlinks=True)
    before = snapshot(root)
    line = refused(selfrepair("delete", "no-such-run", "--warehouse", root))
    assert "there is no run no-such-run" in line  # and no question, which would end in an Abort
    assert snapshot(root) == before


def test_a_partition_without_anything_measured_can_be_deleted(
    tmp_path: Path, selfrepair: Callable[..., Said]
) -> None:
    """As the web UI adds one, for a model that then turns out to be none."""
    warehouse = Warehouse(tmp_path)
    with instance_of_command_line(warehouse) as instance:
        instance.add_dynamic_partitions(str(models.name), ["mistyped"])
    code, out, _ = selfrepair("delete", "mistyped", "--yes", "--warehouse", tmp_path)
    assert (code, out) == (0, "mistyped is removed\n")
    with instance_of_command_line(warehouse) as instance:
        assert instance.get_dynamic_partitions(str(models.name)) == []
    refused(selfrepair("delete", "mistyped", "--yes", "--warehouse", tmp_path))
