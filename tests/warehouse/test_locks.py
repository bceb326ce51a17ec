"""Locks: one at a time, gone with their holder, and never mistaken for another's."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from selfrepair.warehouse.locks import HeldElsewhereError, held, is_held, refuse_if_held, run_held
from selfrepair.warehouse.paths import Warehouse
from selfrepair.warehouse.published.publish import delete

HOLD = """
import sys
from selfrepair.warehouse.locks import run_held
from selfrepair.warehouse.paths import Warehouse
with run_held(Warehouse(sys.argv[1]), "toy", sys.argv[2]):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def another_process(root: Path, note: str = "") -> Iterator[subprocess.Popen[bytes]]:
    """Another process that holds the run `toy`."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(root), note],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def test_one_at_a_time_and_who_it_is(tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path).prepare()
    with another_process(tmp_path) as process:
        refusals: list[Callable[[], object]] = [
            lambda: refuse_if_held(warehouse, "toy"),
            lambda: run_held(warehouse, "toy").__enter__(),
            lambda: delete(warehouse, "toy"),
        ]
        for refused in refusals:
            (warehouse.run_folder("toy")).mkdir(exist_ok=True)
            with pytest.raises(HeldElsewhereError) as told:
                refused()
            message = str(told.value)
            assert message.startswith(
                "toy is being measured or changed by another command (process"
            )
            assert f"process {process.pid} on " in message
            assert message.endswith("wait until it is done, or stop it")
        assert warehouse.run_folder("toy").is_dir()
        with run_held(warehouse, "another"):
            pass
        assert is_held(warehouse.run_lock("toy"))
        process.kill()
        process.wait()
        assert not is_held(warehouse.run_lock("toy"))
        with run_held(warehouse, "toy"), run_held(warehouse, "toy"):
            assert is_held(warehouse.run_lock("toy"))
        assert not is_held(warehouse.run_lock("toy"))


def test_steps_of_one_dagster_run_share_it(tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path).prepare()
    with another_process(tmp_path, "Dagster run 7"):
        with run_held(warehouse, "toy", "Dagster run 7"):
            pass
        with pytest.raises(HeldElsewhereError), run_held(warehouse, "toy", "Dagster run 8"):
            pass


def test_looking_creates_nothing(tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path / "none")
    refuse_if_held(warehouse, "toy")
    assert not is_held(warehouse.run_lock("toy"))
    assert not warehouse.root.exists()


def test_looking_disturbs_nobody(tmp_path: Path) -> None:
    """Whoever looks has the lock for a moment; whoever wants it then is not refused."""
    path, stop = tmp_path / "lock", threading.Event()
    path.touch()

    def look() -> None:
        while not stop.is_set():
            is_held(path)

    lookers = [threading.Thread(target=look) for _ in range(3)]
    for looker in lookers:
        looker.start()
    try:
        for _ in range(200):
            with held(path, "{holder}"):
                pass
    finally:
        stop.set()
        for looker in lookers:
            looker.join()


def test_a_lock_that_its_holder_removes_is_nobodys(tmp_path: Path) -> None:
    """The next one waits on the removed file; it must not take that for the lock."""
    path, inside = tmp_path / "lock", list[str]()

    def wait(name: str) -> None:
        with held(path, "{holder}", waiting=lambda: None):
            inside.append(name)
            assert len(inside) == 1, inside
            time.sleep(0.05)
            inside.remove(name)
            path.unlink()

    threads = [threading.Thread(target=wait, args=(str(n),)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    assert inside == []
