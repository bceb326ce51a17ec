"""One statement on a locked, read-only connection, in a process of its own.

It is started by `sql_console.py` for each statement that a visitor runs, and is gone after it.
In: the published file as an open file, and a JSON line {"fd", "folder", "outside", "statement",
"most_rows", "seconds", "memory_mb", "threads"} on stdin, where "outside" are the files of the
warehouse's folder that hold the rows of large runs. Out: one JSON line on stdout, then (where "ok"
is true) the rows as an Arrow stream.

Walls, of different kinds, so that each holds where another has a hole:
1. the kernel lets this process write, remove and create nothing, and read little beside the
   published file, whatever the statement says (`landlock.py`);
2. the statement is let through only if every part of its parse is known to read (`sql_wall.py`);
3. DuckDB opens the file read-only, is told to reach nothing outside it, and then to take no
   further setting; this alone is not enough: it may write the very file that it has open;
4. limits of the process: no byte into any file, so much memory, so much time.

It imports no part of the project but the first two walls, so that it starts quickly.
"""

import io
import json
import os
import re
import resource
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import duckdb
import pyarrow as pa

if not __package__:  # started as a script, by its path
    sys.path.append(str(Path(__file__).absolute().parents[3]))

from selfrepair.app.console import landlock, sql_wall

MOST_BYTES = 64 * 2**20  # of a result, as it lies in Arrow
BATCH = 2048  # rows; the unit in which a result is fetched and counted
HEADROOM = 3 * 2**30  # bytes of address space beside DuckDB's memory: libraries, stacks, arenas

# What Python, Arrow and DuckDB read after their start, and nothing of anybody's.
READABLE = (
    *(sys.prefix, sys.base_prefix, "/usr/lib", "/lib", "/lib64", "/usr/share/zoneinfo"),
    *("/etc/localtime", "/dev/null", "/dev/urandom", "/proc/meminfo", "/proc/self/cgroup"),
    "/sys/fs/cgroup",  # how much memory there is
)

SHOWN_AS_THEY_ARE = (
    *("BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER"),
    *("FLOAT", "DOUBLE", "VARCHAR"),
)
MOST_DIGITS = 15  # of a decimal that a double holds exactly


def locked_connection(
    file: str,
    *,
    seconds: float,
    memory_mb: int,
    threads: int,
    folder: str = "",
    outside: Sequence[str] = (),
) -> duckdb.DuckDBPyConnection:
    """A connection that reads `file`, and `outside`; its settings cannot be changed.

    No folder is allowed, not even for reading: `allowed_directories` would allow writing too. So
    does `allowed_paths`: name files outside only where the kernel forbids this process to write.
    """
    connection = duckdb.connect(
        file,
        read_only=True,
        config={
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
    if outside:
        both = (name for path in outside for name in (path, os.path.relpath(path, folder)))
        names = ", ".join(_quoted(name) for name in both)  # as a view asks, and as it is found
        connection.execute(f"set file_search_path = {_quoted(folder)}")
        connection.execute(f"set allowed_paths = [{names}]")
    connection.execute("set enable_external_access = false")
    connection.execute("set lock_configuration = true")
    return connection


def _quoted(path: str) -> str:
    return "'" + path.replace("'", "''") + "'"


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

    Raises ValueError for a result that is too large to show.
    """
    relation = connection.sql(statement)
    if relation is None:  # a statement without an answer
        return pa.table({}), False
    kinds = [str(kind) for kind in relation.types]
    columns = [f"{_shown(n, kind)} as c{n}" for n, kind in enumerate(kinds, start=1)]
    reader: pa.RecordBatchReader = relation.project(", ".join(columns)).to_arrow_reader(BATCH)
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
    table = pa.Table.from_batches(batches, reader.schema).slice(0, most_rows)
    whole = [_whole_numbers(c) if "HUGEINT" in k else c for c, k in zip(table, kinds, strict=True)]
    return pa.table(whole, names=_distinct(relation.columns)), rows > most_rows


def _shown(n: int, kind: str) -> str:
    """The n-th column as a page can show it: numbers and text as they are, all else as text."""
    if kind in SHOWN_AS_THEY_ARE:
        return f"#{n}"
    decimal = re.fullmatch(r"DECIMAL\((\d+),\d+\)", kind)
    return f"#{n}::{'double' if decimal and int(decimal[1]) <= MOST_DIGITS else 'varchar'}"


def _whole_numbers(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Numbers of 128 bits (such as sums are) as those of 64, or as text where one is too large."""
    try:
        return column.cast(pa.int64())
    except pa.ArrowInvalid:
        return column


def _distinct(names: list[str]) -> list[str]:
    """The columns' names; the second `a` is `a (2)`."""
    seen: dict[str, int] = {}
    found = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        shown = f"{name} ({seen[name]})" if seen[name] > 1 else name
        while shown in found:
            shown += "'"
        found.append(shown)
    return found


def answer(request: dict[str, Any], out: BinaryIO) -> None:
    """Runs the request and writes its answer; an error of any kind becomes its message."""
    limits = {name: request[name] for name in ("seconds", "memory_mb", "threads")}
    body, file, outside = b"", f"/dev/fd/{request['fd']}", request["outside"]
    head: dict[str, Any] = {"landlock": False}
    try:
        # Before DuckDB starts threads.
        head["landlock"] = landlock.confine([file, *outside, *READABLE])
        readable = outside if head["landlock"] else []
        connection = locked_connection(file, folder=request["folder"], outside=readable, **limits)
        limit_process(**limits)
        sql_wall.check(connection, request["statement"])
        table, more = first_rows(connection, request["statement"], request["most_rows"])
        sink = io.BytesIO()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        body = sink.getvalue()
        head |= {"ok": True, "rows": table.num_rows, "more": more}
    except MemoryError:
        head |= {"ok": False, "error": "the statement needs more memory than it may have"}
    except Exception as error:
        head |= {
            "ok": False,
            "error": _without_paths(str(error) or type(error).__name__, file, request["folder"]),
        }
    try:
        out.write(json.dumps(head).encode() + b"\n" + body)
        out.flush()
    except BrokenPipeError:  # the visitor has cancelled
        pass


def _without_paths(message: str, file: str, folder: str) -> str:
    """A visitor does not learn where on this machine the warehouse, or the interpreter, lies."""
    real = os.path.realpath(file)
    for path, name in (
        (real, "the published file"),
        (os.path.dirname(real), "the warehouse"),
        (folder, "the warehouse"),
        (os.path.realpath(folder), "the warehouse"),
        (sys.prefix, "the interpreter"),
        (sys.base_prefix, "the interpreter"),
    ):
        if len(path) > 1:
            message = message.replace(path, name)
    return message


if __name__ == "__main__":
    answer(json.loads(sys.stdin.buffer.readline()), sys.stdout.buffer)
    sys.stdout.flush()
    os._exit(0)  # DuckDB's threads may still be busy
