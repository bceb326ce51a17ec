"""Who reads a generation: while somebody does, it stays, and so do the files that it names."""

import fcntl
import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import duckdb


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


@contextmanager
def unread(generation: Path) -> Iterator[None]:
    """Keeps new readers from a generation that nobody reads, until what is done here is done.

    Raises OSError where somebody has it open: through this project, or any other DuckDB.
    """
    with generation.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # DuckDB's lock is of the other kind
        yield
