"""One statement on a locked, read-only connection, in a process of its own.

It is started by `sql_console.py` for each statement that a visitor runs, and is gone after it.
In: a JSON line {"file", "statement", "most_rows", "seconds", "memory_mb", "threads"} on stdin.
Out: one JSON line on stdout, then (where "ok" is true) the rows as an Arrow stream.

Three walls, each enough for most of what a hostile statement tries:
1. the file is opened read-only;
2. DuckDB is told to reach nothing outside it, and then to take no further setting;
3. the operating system lets this process write to no file at all (RLIMIT_FSIZE 0), use no more
   address space than given, and no more processor time than the time limit allows; a timer ends
   it at that limit whatever it does.

It imports no part of the project, so that it starts quickly and has nothing to be looked at.
"""

import io
import json
import os
import resource
import signal
import sys
import threading
from contextlib import suppress
from typing import Any, BinaryIO

import duckdb
import pyarrow as pa

MOST_BYTES = 64 * 2**20  # of a result, as it lies in Arrow
BATCH = 2048  # rows; the unit in which a result is fetched and counted
HEADROOM = 3 * 2**30  # bytes of address space beside DuckDB's memory: libraries, stacks, arenas


def locked_connection(
    file: str, *, seconds: float, memory_mb: int, threads: int
) -> duckdb.DuckDBPyConnection:
    """A connection that reads `file` and can do nothing else; its settings cannot be changed.

    No folder is allowed, not even for reading: `allowed_directories` would allow writing too, and a
    statement's type does not tell (`with x as (copy ...) select` counts as a SELECT).
    """
    connection = duckdb.connect(
        file,
        read_only=True,
        config={
            "enable_external_access": False,
            "autoload_known_extensions": False,
            "autoinstall_known_extensions": False,
            "allow_community_extensions": False,
            "allow_persistent_secrets": False,
            "python_enable_replacements": False,
            "memory_limit": f"{memory_mb}MB",
            "threads": threads,
            "temp_directory": "",
            "max_temp_directory_size": "0KB",
            "max_execution_time": round(seconds * 1000),
        },
    )
    connection.execute("set enable_progress_bar = false")
    connection.execute("set lock_configuration = true")
    return connection


def limit_process(*, seconds: float, memory_mb: int, threads: int) -> None:
    """Lets the operating system bound this process: files, address space, processor time."""
    # Otherwise a write beyond the limit kills the process instead of failing.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    processor = round((seconds + 5) * (threads + 1))
    resource.setrlimit(resource.RLIMIT_CPU, (processor, processor))
    space = memory_mb * 2**20 + HEADROOM
    with suppress(ValueError, OSError):  # macOS has no such limit; DuckDB's own remains
        resource.setrlimit(resource.RLIMIT_AS, (space, space))
    # DuckDB looks at max_execution_time only between batches of rows.
    timer = threading.Timer(seconds + 3, os._exit, args=(124,))
    timer.daemon = True
    timer.start()


def first_rows(
    connection: duckdb.DuckDBPyConnection, statement: str, most_rows: int
) -> tuple[pa.Table, bool]:
    """At most `most_rows` rows of the one statement, and whether there were more.

    Raises ValueError for none or several statements, or a result that is too large to show.
    """
    found = connection.extract_statements(statement)
    if len(found) != 1:
        raise ValueError(
            "there is no statement" if not found else "one statement at a time, please"
        )
    connection.execute(found[0])
    if connection.description is None:
        return pa.table({}), False
    reader: pa.RecordBatchReader = connection.to_arrow_reader(BATCH)  # type: ignore[assignment]
    batches, rows, size = [], 0, 0
    for batch in reader:
        batches.append(batch)
        rows += batch.num_rows
        size += batch.nbytes
        if size > MOST_BYTES:
            raise ValueError(
                f"the result is larger than {MOST_BYTES // 2**20} MB: ask for fewer columns or rows"
            )
        if rows > most_rows:
            break
    table = pa.Table.from_batches(batches, reader.schema)
    return table.slice(0, most_rows), rows > most_rows


def answer(request: dict[str, Any], out: BinaryIO) -> None:
    """Runs the request and writes its answer; an error of any kind becomes its message."""
    limits = {name: request[name] for name in ("seconds", "memory_mb", "threads")}
    body = b""
    try:
        connection = locked_connection(request["file"], **limits)
        limit_process(**limits)
        table, more = first_rows(connection, request["statement"], request["most_rows"])
        sink = io.BytesIO()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        body = sink.getvalue()
        head: dict[str, Any] = {"ok": True, "rows": table.num_rows, "more": more}
    except MemoryError:
        head = {"ok": False, "error": "the statement needs more memory than it may have"}
    except Exception as error:
        head = {"ok": False, "error": str(error) or type(error).__name__}
    try:
        out.write(json.dumps(head).encode() + b"\n" + body)
        out.flush()
    except BrokenPipeError:  # the visitor has cancelled
        pass


if __name__ == "__main__":
    answer(json.loads(sys.stdin.buffer.readline()), sys.stdout.buffer)
    sys.stdout.flush()
    os._exit(0)  # DuckDB's threads may still be busy
