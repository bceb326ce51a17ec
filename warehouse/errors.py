"""What can go wrong in the store, told to the user in one line."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa

from selfrepair.errors import OneLineError


class WarehouseError(OneLineError, RuntimeError):
    """The store cannot do what was asked; the message is one line: what is wrong, what to do."""


ADVICE = {
    errno.ENOSPC: "the disk is full: free some space and repeat the command",
    errno.EDQUOT: "the disk quota is used up: free some space and repeat the command",
    errno.EFBIG: "the file would be larger than the limit for files here (see `ulimit -f`)",
    errno.EACCES: "permission denied: choose a warehouse folder that you may write to",
    errno.EPERM: "permission denied: choose a warehouse folder that you may write to",
    errno.EROFS: "the file system is read-only: choose another warehouse folder",
    errno.ENOTDIR: "a part of that path is a file, not a folder: choose another warehouse folder",
    errno.EEXIST: "that path is a file, not a folder: choose another warehouse folder",
}


ROOM_AT_LEAST = 2**20  # bytes; below it SQLite says "disk I/O error"


def refuse_full_disk(folder: Path) -> None:
    """Raises WarehouseError where the disk of a folder has no room left, whatever that broke."""
    there = next((path for path in (folder, *folder.parents) if path.is_dir()), None)
    if there and shutil.disk_usage(there).free < ROOM_AT_LEAST:
        raise WarehouseError(f"{ADVICE[errno.ENOSPC]} ({folder})")


@contextmanager
def one_clear_line(doing: str) -> Iterator[None]:
    """Turns an error of the system, of DuckDB or of Arrow into a WarehouseError.

    `doing` names what was tried ("publish pythia-160m"); the message is "`doing`: what went wrong".
    DuckDB reports a full disk only in words, so those are looked for.
    """
    try:
        yield
    except OSError as error:  # Arrow's ArrowIOError is an OSError
        advice = ADVICE.get(error.errno or 0) or _first_line(error)
        where = f" ({error.filename})" if error.filename else ""
        raise WarehouseError(f"cannot {doing}: {advice}{where}") from error
    except (duckdb.Error, pa.ArrowException) as error:
        full = "no space left on device" in str(error).lower()
        advice = ADVICE[errno.ENOSPC] if full else _first_line(error)
        raise WarehouseError(f"cannot {doing}: {advice}") from error


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
