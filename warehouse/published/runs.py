"""Which runs there are: published, or known of in any way."""

from typing import Any

from selfrepair.warehouse.errors import WarehouseError, one_clear_line
from selfrepair.warehouse.facts.run_facts import all_tables, is_ended
from selfrepair.warehouse.paths import Warehouse, slug
from selfrepair.warehouse.published import generations
from selfrepair.warehouse.published.build_anew import published_rows, runs_in
from selfrepair.warehouse.published.read import open_serving


def is_known(warehouse: Warehouse, run_id: str) -> bool:
    """Whether there is anything of a run, published or not."""
    folders = [table.folder for table in all_tables(warehouse, run_id)]
    folders.append(warehouse.run_folder(run_id))
    return any(folder.exists() for folder in folders) or run_id in known_runs(warehouse)


def refuse_unknown(warehouse: Warehouse, run_id: str) -> None:
    """Raises WarehouseError where there is nothing of a run, published or not."""
    if not is_known(warehouse, run_id):
        known = ", ".join(known_runs(warehouse)) or "nothing"
        raise WarehouseError(f"there is no run {run_id} in {warehouse.root}; published: {known}")


def refuse_unpublished(warehouse: Warehouse, run_id: str) -> None:
    """Raises WarehouseError where a run is not in the served generation, or has an odd name."""
    slug(run_id)
    known = published_runs(warehouse)
    if run_id not in known:
        raise WarehouseError(
            f"{run_id} is not published in {warehouse.root}; there are: "
            f"{', '.join(known) or 'no runs'}"
        )


def published_runs(warehouse: Warehouse) -> list[str]:
    """The run_ids in the served generation; none where nothing is published.

    Raises WarehouseError where it cannot be read.
    """
    served = generations.current(warehouse)
    if served is None:
        return []
    with one_clear_line(f"open {served}"):
        return runs_in(served)


def row_as_published(warehouse: Warehouse, run_id: str) -> dict[str, Any] | None:
    """A run's row of `runs` as it is served; where that cannot be read, as it is known to be."""
    if generations.current(warehouse) is None:
        return None
    try:
        with open_serving(warehouse) as connection, one_clear_line(f"ask for {run_id}"):
            found = connection.execute("from runs where run_id = ?", [run_id])
            names = [column[0] for column in found.description or []]
            row = found.fetchone()
    except WarehouseError:
        return published_rows(warehouse).get(run_id)
    return dict(zip(names, row, strict=True)) if row else None


def runs_to_the_end(warehouse: Warehouse) -> list[str]:
    """The served runs that are whole, or stopped: of which no more is to be measured."""
    rows = [(run_id, row_as_published(warehouse, run_id)) for run_id in published_runs(warehouse)]
    return [run_id for run_id, row in rows if row and is_ended(row)]


def known_runs(warehouse: Warehouse) -> list[str]:
    """The runs that are published; where the file cannot be read, those that are known to be."""
    try:
        return published_runs(warehouse)
    except WarehouseError:
        return sorted(published_rows(warehouse))
