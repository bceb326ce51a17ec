"""Who reads a generation: while somebody does, it stays, and so do the files that it names."""

import fcntl
import os
import weakref
from contextlib import suppress
from pathlib import Path

import duckdb

from selfrepair.warehouse.locks import is_held


def hold_while_open(generation: Path, connection: duckdb.DuckDBPyConnection) -> None:
    """Locks a generation as read for as long as the connection to it is there.

    A lock of its own beside DuckDB's, which a process loses when it closes the file a second time.

    Raises FileNotFoundError where the generation is gone.
    """
    descriptor = os.open(generation, os.O_RDONLY)
    try:
        with suppress(OSError):  # some file systems have no locks; reading goes before
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        os.stat(generation)  # a publisher may have removed it just before
    except BaseException:
        os.close(descriptor)
        raise
    weakref.finalize(connection, os.close, descriptor)


def is_read(generation: Path) -> bool:
    """Whether somebody has a generation open: through this project, or any other DuckDB."""
    if is_held(generation):
        return True
    try:
        with generation.open("r+b") as file:  # DuckDB's lock is of the other kind (POSIX)
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    return False
