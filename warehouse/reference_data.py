"""Tables that the project brings along: `sql/data/<table>.csv` holds the rows of that table."""

import io
from collections.abc import Iterator
from importlib.resources.abc import Traversable
from pathlib import Path

import duckdb
import pyarrow.csv

Source = Path | Traversable


def fill(connection: duckdb.DuckDBPyConnection, source: Source) -> None:
    """Puts the rows of every file of `sql/data/` in the table of its name, in place of its rows."""
    for table, data in _files(source):
        rows = pyarrow.csv.read_csv(io.BytesIO(data))
        connection.register("reference_rows", rows)
        connection.execute(f"delete from {table}")
        connection.execute(f"insert into {table} by name select * from reference_rows")
        connection.unregister("reference_rows")


def _files(source: Source) -> Iterator[tuple[str, bytes]]:
    folder = source / "data"
    if folder.is_dir():
        for file in sorted(folder.iterdir(), key=lambda f: f.name):
            if file.name.endswith(".csv"):
                yield file.name.removesuffix(".csv"), file.read_bytes()
