"""The generations of the published file, and how one takes the place of the last.

    <warehouse>/selfrepair.duckdb  ->  generations/selfrepair-000007.duckdb

1. Under the publishers' lock, the next generation is built under a name that nobody opens.
2. It is closed (so that no `.wal` stays), synced, and gets its final name.
3. The stable name, a symlink, is swapped to it by one `rename`.
4. All but the newest two generations are removed. Whoever has an older one open goes on reading it.

Killed anywhere, the stable name still leads to a whole generation; what was being built is
removed by the next publisher.
"""

import errno
import fcntl
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import duckdb

from warehouse.errors import WarehouseError, one_clear_line
from warehouse.paths import TEMPORARY, Warehouse, sync
from warehouse.sql_parsing import literal

# STORAGE_VERSION decides who can read the file: DuckDB 1.5 (the newest command-line client on PyPI)
# cannot open what 2.0 writes by default, and 2.0 reads both.
STORAGE_VERSION = "v1.5.0"
KEPT = 2
NAME = re.compile(r"selfrepair-(\d{6,})\.duckdb")

Progress = Callable[[float, str], None]


def current(warehouse: Warehouse) -> Path | None:
    """The generation that the stable name leads to; None where nothing is published."""
    with one_clear_line(f"read {warehouse.serving}"):
        try:
            target = os.readlink(warehouse.serving)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            raise WarehouseError(
                f"{warehouse.serving} is not the link that publishing makes: move it away"
            ) from error
    return warehouse.root / target


def number_of(generation: Path) -> int:
    found = NAME.fullmatch(generation.name)
    if not found:
        raise WarehouseError(f"{generation} is not a generation: publish again")
    return int(found[1])


def building(warehouse: Warehouse, number: int) -> Path:
    """The name of a generation that is being built; nobody else opens it."""
    return warehouse.generations / f"selfrepair-{number:06d}.building"


@contextmanager
def publishing(warehouse: Warehouse, progress: Progress) -> Iterator[int]:
    """Holds the publishers' lock, cleans up after killed ones, and gives the next number."""
    with warehouse.lock.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress(0.0, "waiting for another publisher")
            fcntl.flock(lock, fcntl.LOCK_EX)
        served = current(warehouse)
        if served and not served.exists():
            raise WarehouseError(
                f"{served} is gone: put it back, or remove {warehouse.serving} to begin anew"
            )
        last = max((number_of(path) for path in _generations(warehouse)), default=0)
        for path in _generations(warehouse):
            if served is None or number_of(path) > number_of(served):  # never served
                path.unlink()
        for leftover in warehouse.generations.glob("*.building*"):
            leftover.unlink()
        for leftover in warehouse.root.glob(f"{warehouse.serving.name}{TEMPORARY}*"):
            leftover.unlink()
        yield last + 1


def empty_file(path: Path) -> None:
    """A database without tables, in the storage version that all readers can open."""
    with duckdb.connect() as connection:
        connection.execute(f"attach {literal(path)} as made (storage_version '{STORAGE_VERSION}')")
        connection.execute("detach made")


@contextmanager
def attached(connection: duckdb.DuckDBPyConnection, generation: Path, name: str) -> Iterator[None]:
    """Attaches a generation read-only; WarehouseError where someone has it open for writing."""
    try:
        connection.execute(f"attach {literal(generation)} as {name} (read_only)")
    except duckdb.IOException as error:
        if "lock" not in str(error):
            raise
        raise WarehouseError(
            "the published file is open for writing in another program: "
            "close it there (and open it with `duckdb -readonly`), then publish again"
        ) from error
    try:
        yield
    finally:
        connection.execute(f"detach {name}")


def copy(generation: Path, to: Path) -> None:
    """Copies a file; where the file system can share blocks, no bytes are moved."""
    with generation.open("rb") as source, to.open("wb") as target:
        try:
            while os.copy_file_range(source.fileno(), target.fileno(), 2**30):
                pass
        except OSError:  # not on this kernel, file system, or across two of them
            source.seek(0)
            target.seek(0)
            target.truncate()
            shutil.copyfileobj(source, target, 2**24)


def serve(warehouse: Warehouse, building: Path, number: int) -> Path:
    """Gives a closed, checkpointed file its final name, and leads the stable name to it."""
    final = warehouse.generation(number)
    if Path(f"{building}.wal").exists():
        raise WarehouseError(f"{building} was not closed: a write-ahead log is beside it")
    sync(building)
    # A log left by a killed writer would be replayed into, or refused by, the new file.
    Path(f"{final}.wal").unlink(missing_ok=True)
    os.replace(building, final)
    sync(warehouse.generations)
    Path(f"{warehouse.serving}.wal").unlink(missing_ok=True)
    link = warehouse.root / f"{warehouse.serving.name}{TEMPORARY}{os.getpid()}"
    link.unlink(missing_ok=True)
    link.symlink_to(final.relative_to(warehouse.root))
    os.replace(link, warehouse.serving)
    sync(warehouse.root)
    _remove_old(warehouse)
    return final


def _remove_old(warehouse: Warehouse) -> None:
    for path in sorted(_generations(warehouse), key=number_of)[:-KEPT]:
        with suppress(OSError):  # the new one is served already; the next publisher tries again
            path.unlink()
            Path(f"{path}.wal").unlink(missing_ok=True)


def _generations(warehouse: Warehouse) -> list[Path]:
    return [path for path in warehouse.generations.iterdir() if NAME.fullmatch(path.name)]
