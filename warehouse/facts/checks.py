"""Whether a run's facts obey the specification, asked before they are published.

Each file of `sql/checks/` selects the rows that break a rule. The checks read the run's shards, as
its manifests name them, through views of the tables' names, and the run's row as `runs`.

A check may name `$kept_fraction`, the largest share of a head's rows that details may be of: the
run's top_fraction, and more in a part of it, where all the run's top rows may lie. It is asked of
the layers from `$first_layer` to `$last_layer` at a time where it names these
(`layers_together.py`): that bounds its memory, and the shards' footers tell which parts of a file
these layers are in. Rows are counted as they stream by, so that a check which everything fails
takes no more memory than one which holds.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from selfrepair.warehouse.connection import Connection, Progress, insert_row, working_connection
from selfrepair.warehouse.errors import one_clear_line
from selfrepair.warehouse.facts.run_facts import part_of
from selfrepair.warehouse.facts.shard_views import view_external_facts
from selfrepair.warehouse.facts.tables import facts_read
from selfrepair.warehouse.layers_together import taken_together
from selfrepair.warehouse.paths import Warehouse
from selfrepair.warehouse.sql_created import create_all, create_tables
from selfrepair.warehouse.sql_files import Relation, Source, relations

ROWS_SHOWN = 20


@dataclass(frozen=True)
class CheckResult:
    """What a check found: `n_offending` rows in all, the first of them in `rows`."""

    name: str
    must_hold: str
    passed: bool
    n_offending: int
    rows: list[dict[str, Any]] = field(repr=False)
    seconds: float


def run_checks(
    warehouse: Warehouse,
    run_row: Mapping[str, Any],
    only: Iterable[str] | None = None,
    progress: Progress | None = None,
    source: Source | None = None,
) -> list[CheckResult]:
    """Runs the checks (`only` these, where given) over the shards of a run.

    run_row: the columns of `runs`, by name; of a part of the run, the part is checked.
    progress: called with the fraction done (0 to 1) and the check under way.

    Raises WarehouseError where the run is not measured to the end. A rule that does not hold is a
    result, not an error.
    """
    run_id = str(run_row["run_id"])
    wanted = [found for found in _checks(source) if only is None or found.name in set(only)]
    results = []
    warehouse.prepare()
    with (
        one_clear_line(f"check {run_id}"),
        working_connection(warehouse) as connection,
    ):
        connection.execute("set parquet_metadata_cache = true")
        # Which rows are shown first is no rule's business, and order costs memory.
        connection.execute("set preserve_insertion_order = false")
        create_tables(connection, source)
        insert_row(connection, "runs", run_row)
        names = [found.name for found in wanted]
        read = facts_read(*names, source=source)
        view_external_facts(connection, warehouse, {run_id: part_of(run_row)}, read)
        create_all(connection, source, comments=False, only=names)
        for done, found in enumerate(wanted):
            if progress:
                progress(done / len(wanted), found.name)
            results.append(_run(connection, found, run_row))
    if progress:
        progress(1.0, "checked")
    return results


def _run(connection: Connection, found: Relation, run_row: Mapping[str, Any]) -> CheckResult:
    began = time.monotonic()
    count, shown = 0, list[dict[str, Any]]()
    times = run_row["n_sequences"] / (part_of(run_row) or run_row["n_sequences"])
    kept_fraction = min(1.0, float(run_row["top_fraction"]) * times)
    known = {"kept_fraction": kept_fraction} if "kept_fraction" in found.parameters else {}
    rows_of_head = run_row["n_tokens"] * len(run_row["ablations"])
    sizes = (run_row["n_layers"], run_row["n_heads"], rows_of_head)
    for layers in taken_together(found.parameters, *sizes):
        parameters = known | layers
        for batch in connection.sql(found.body, params=parameters).to_arrow_reader(10_000):
            count += batch.num_rows
            if len(shown) < ROWS_SHOWN:
                shown += batch.slice(0, ROWS_SHOWN - len(shown)).to_pylist()
    seconds = time.monotonic() - began
    return CheckResult(found.name, found.grain, count == 0, count, shown, seconds)


def _checks(source: Source | None) -> list[Relation]:
    return [found for found in relations(source) if found.kind == "check"]
