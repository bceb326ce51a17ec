"""`selfrepair export`: a run as plain files, for a colleague or a dataset hub.

The run's shards and what it is go out byte for byte; then they are imported into an empty warehouse
of their own, which both proves that they can be and makes the DuckDB file with this run alone.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from selfrepair.exchange import layout
from selfrepair.exchange.card import card
from selfrepair.exchange.importing import bring
from selfrepair.warehouse.connection import Progress
from selfrepair.warehouse.errors import WarehouseError, one_clear_line
from selfrepair.warehouse.facts.run_facts import measured_tables
from selfrepair.warehouse.locks import run_held
from selfrepair.warehouse.paths import TEMPORARY, Warehouse, copy
from selfrepair.warehouse.published.read import open_serving
from selfrepair.warehouse.published.runs import refuse_unpublished
from selfrepair.warehouse.sealed import sha256


def export(warehouse: Warehouse, run_id: str, output: Path, progress: Progress) -> None:
    """Writes a published run into the new folder `output`, whole or not at all.

    progress: called with the fraction done (0 to 1) and the step under way.

    Raises WarehouseError where the run is not published, its shards are gone or damaged, or
    `output` is there already.
    """
    refuse_unpublished(warehouse, run_id)
    output = output.absolute()
    if os.path.lexists(output):
        raise WarehouseError(f"{output} is there already: name a folder that is not")
    temporary = output.with_name(f"{output.name}{TEMPORARY}{os.getpid()}")
    with one_clear_line(f"write {output}"):
        temporary.mkdir()  # in a folder that is there: what the user named, and no more
        try:
            with run_held(warehouse, run_id):
                _copy(warehouse, run_id, temporary, progress)
            _sum(temporary)
            _add_database(run_id, temporary, lambda done, step: progress(0.3 + 0.7 * done, step))
            _sum(temporary)
            os.rename(temporary, output)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    progress(1.0, "exported")


def _copy(warehouse: Warehouse, run_id: str, to: Path, progress: Progress) -> None:
    """The run's shards, each held against its checksum, and what the run is."""
    tables = measured_tables(warehouse, run_id)
    for n, table in enumerate(tables):
        progress(0.3 * n / len(tables), f"copying {table.table}")
        table.verify()
        folder = to / "facts" / table.table
        folder.mkdir(parents=True)
        for path in table.files():
            copy(path, folder / path.name)
    (to / "run").mkdir()
    for path in sorted(warehouse.run_folder(run_id).iterdir()):
        if layout.NOTES.fullmatch(f"run/{path.name}"):
            copy(path, to / "run" / path.name)


def _add_database(run_id: str, to: Path, progress: Progress) -> None:
    """The DuckDB file with this run alone, as an import makes it, and the card."""
    alone = Warehouse(to / "alone")
    _, made = bring(str(to), alone, progress, one_file=True)
    with open_serving(alone) as connection:
        text = card(connection, run_id)
    os.rename(made.path, to / layout.DATABASE)
    shutil.rmtree(alone.root)
    (to / layout.CARD).write_text(text, encoding="utf-8")


def _sum(to: Path) -> None:
    """Writes SHA256SUMS of all files that there are."""
    files = {path.relative_to(to).as_posix(): path for path in to.rglob("*") if path.is_file()}
    files.pop(layout.SUMS, None)
    sums = {name: sha256(path) for name, path in files.items()}
    (to / layout.SUMS).write_text(layout.sums_text(sums), encoding="ascii")
