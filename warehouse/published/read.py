"""How readers open what is published."""

from pathlib import Path

import duckdb

from selfrepair.warehouse.connection import Config
from selfrepair.warehouse.errors import WarehouseError, one_clear_line
from selfrepair.warehouse.paths import Warehouse
from selfrepair.warehouse.published.generations import current, number_of, outside_of
from selfrepair.warehouse.published.outside import refuse_others
from selfrepair.warehouse.published.readers import hold_while_open
from selfrepair.warehouse.sql_parsing import literal


def current_generation(warehouse: Warehouse) -> int | None:
    """The number of the generation that is served; None where nothing is published yet.

    It is read from the symlink alone, so that a reader can cheaply look for a newer one.
    """
    generation = current(warehouse)
    return number_of(generation) if generation else None


def open_serving(
    warehouse: Warehouse,
    config: Config | None = None,
    *,
    attach: bool = False,
) -> duckdb.DuckDBPyConnection:
    """Opens the newest generation read-only.

    attach: opens it as `published` beside an empty database in memory, so that the same process can
        open it with another config too.

    It is opened by its own name, not the stable one: DuckDB would give a process that has the
    stable name open the file that it led to before. The connection goes on reading its generation
    when newer ones are published; open again to see them. While it is there, so is all that it
    reads, the rows of large runs outside the file included.

    Raises WarehouseError where nothing is published, or the file cannot be opened.
    """
    given: Config = {"file_search_path": str(warehouse.root), **(config or {})}
    before = None
    while True:
        generation = current(warehouse)
        if generation is None:
            raise WarehouseError(
                f"nothing is published in {warehouse.root} yet: run `selfrepair run MODEL` first"
            )
        refuse_others(warehouse, outside_of(generation))
        with one_clear_line(f"open {generation}"):
            try:
                connection = _opened(generation, attach, given)
                hold_while_open(generation, connection)
                return connection
            except (duckdb.IOException, FileNotFoundError):
                # Two publishings between the two lines above have removed it: take the newer one.
                if generation == before or generation.exists():
                    raise
                before = generation


def _opened(generation: Path, attach: bool, config: Config) -> duckdb.DuckDBPyConnection:
    if not attach:
        return duckdb.connect(str(generation), read_only=True, config=config)
    connection = duckdb.connect(config=config)
    connection.execute(f"attach {literal(generation)} as published (read_only)")
    connection.execute("use published")
    return connection
