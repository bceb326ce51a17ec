"""Runs statements with one wall of the SQL page standing, and nothing else of its limits.

    python -m tests.helpers.hostile.hostile_child landlock|statement FILE < statements

Says a line for each: "rows", or the error; the parent looks what became of the warehouse.
"""

import json
import os
import sys

import duckdb

from selfrepair.app.console import landlock, sql_wall
from selfrepair.app.console.sql_worker import READABLE, first_rows, locked_connection


def main() -> None:
    wall, name = sys.argv[1:]
    opened = os.open(name, os.O_RDONLY)
    file = f"/dev/fd/{opened}"
    if wall == "landlock":
        assert landlock.confine([file, *READABLE])
    limits = {"seconds": 20.0, "memory_mb": 512, "threads": 2}
    connection = locked_connection(file, **limits)  # type: ignore[arg-type]
    print(opened, flush=True)
    for line in sys.stdin:
        statement = json.loads(line)
        try:
            if wall == "statement":
                sql_wall.check(connection, statement)
                first_rows(connection, statement, 10)
            else:  # as it was before there were walls: whatever it is, it is run
                connection.execute(statement or ";").fetchmany(10)
            said = "rows"
        except Exception as error:
            said = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            if isinstance(error, duckdb.FatalException | duckdb.InternalException):
                connection = locked_connection(file, **limits)  # type: ignore[arg-type]
        print(said, flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
