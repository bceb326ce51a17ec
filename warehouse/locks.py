"""Who is at work: a lock that its holder's end releases, whatever ends it, on whatever machine.

A process number means nothing on another machine, and a file's age nothing at all; a lock (flock)
is gone when its holder is. So whoever removes what others left behind takes their lock first.
"""

import fcntl
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from selfrepair.warehouse.errors import WarehouseError, one_clear_line
from selfrepair.warehouse.paths import Warehouse

BUSY = (
    "{run_id} is being measured or changed by another command ({holder}): "
    "wait until it is done, or stop it"
)
PATIENCE = 1.0  # seconds; looking whether a lock is held takes it for a moment


class HeldElsewhereError(WarehouseError):
    """Somebody else is at work there; the message says who, and what to do."""

    holder: str = ""


@contextmanager
def held(
    path: Path,
    busy: str,
    *,
    waiting: Callable[[], None] | None = None,
    patience: float = PATIENCE,
    note: str = "",
) -> Iterator[None]:
    """Holds the lock `path`, which nobody else can hold meanwhile, in this process or another.

    busy: the message where it is held, with `{holder}` in it for who that is.
    waiting: called once where it is held, which is then waited for; None refuses after `patience`
        seconds instead, which outlast whoever only looks whether it is held.
    note: what the holder says of itself, besides its process and machine.

    Raises HeldElsewhereError.
    """
    with one_clear_line(f"lock {path}"):
        file = _locked(path, busy, waiting, patience)
    try:
        now = datetime.now(UTC)
        me = f"process {os.getpid()} on {socket.gethostname()} since {now:%Y-%m-%d %H:%M} UTC"
        with suppress(OSError):  # a full disk: then nobody knows who holds it
            file.truncate(0)
            file.write(f"{me}, {note}" if note else me)
            file.flush()
        yield
    finally:
        with suppress(OSError):
            file.close()


def is_held(path: Path) -> bool:
    """Whether somebody who still lives holds the lock."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def refuse_if_held(warehouse: Warehouse, run_id: str) -> None:
    """Raises HeldElsewhereError where another process is at work on the run; creates nothing."""
    path = warehouse.run_lock(run_id)
    if path not in _runs_of_this_process and is_held(path):
        holder = path.read_text(encoding="utf-8")[:300] or "another process"
        raise HeldElsewhereError(BUSY.format(run_id=run_id, holder=holder))


_runs_of_this_process: set[Path] = set()


@contextmanager
def run_held(warehouse: Warehouse, run_id: str, note: str = "") -> Iterator[None]:
    """Holds a run: nobody else measures, restarts or deletes it meanwhile.

    Within a process it can be taken again. So can it by other processes with the same note, such as
    the steps of one Dagster run.

    Raises HeldElsewhereError where another command is at work on the run.
    """
    path = warehouse.run_lock(run_id)
    if path in _runs_of_this_process:
        yield
        return
    busy = BUSY.format(run_id=run_id.replace("{", "{{").replace("}", "}}"), holder="{holder}")
    with ExitStack() as stack:
        try:
            stack.enter_context(held(path, busy, note=note))
            _runs_of_this_process.add(path)
            stack.callback(_runs_of_this_process.discard, path)
        except HeldElsewhereError as error:
            if not (note and error.holder.endswith(note)):
                raise
        yield


def _locked(path: Path, busy: str, waiting: Callable[[], None] | None, patience: float) -> IO[str]:
    """The lock's file, open and locked."""
    path.parent.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + patience
    while True:
        file = path.open("a+", encoding="utf-8")
        try:
            if _taken(file, fcntl.LOCK_NB):
                pass
            elif waiting is not None:
                waiting()
                _taken(file, 0)
            elif time.monotonic() < until:
                time.sleep(0.05)
            else:
                file.seek(0)
                error = HeldElsewhereError()
                error.holder = file.read(300) or "another process"
                error.args = (busy.format(holder=error.holder),)
                raise error
            # Whoever held it may have removed the file: then this lock keeps nobody out.
            with suppress(FileNotFoundError):
                same = os.stat(path).st_ino == os.fstat(file.fileno()).st_ino
                if same and _taken(file, fcntl.LOCK_NB):
                    return file
            file.close()
        except BaseException:
            file.close()
            raise


def _taken(file: IO[str], how: int) -> bool:
    """Locks an open file; False where somebody else holds it. What is held already stays held."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | how)
    except BlockingIOError:
        return False
    return True
