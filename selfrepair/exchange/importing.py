"""`selfrepair import`: a run that was measured elsewhere, into this warehouse.

1. Read SHA256SUMS and the plan; refuse names that no export has, and a run that is here already.
2. Copy each file into a folder of the warehouse that nobody reads, hashing it on the way.
3. Hold it against what the plan and `sql/tables/` say: settings, columns, types, sizes.
4. Run the project's own checks over it, as over a run that was measured here.
5. Move it to its place and publish it.

Nothing of an export is executed: no SQL, no pickle, no code of it. Whatever fails, the warehouse is
left as it was.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from selfrepair.errors import OneLineError
from selfrepair.exchange import layout
from selfrepair.exchange.layout import RefusedError
from selfrepair.exchange.sources import Opened, copied, read_whole, source
from selfrepair.warehouse.connection import Progress, spill_folder
from selfrepair.warehouse.errors import refuse_full_disk
from selfrepair.warehouse.facts.plan import Plan, require_plan
from selfrepair.warehouse.facts.run_table import RunTable
from selfrepair.warehouse.facts.shards import range_of, shard_fingerprint
from selfrepair.warehouse.facts.tables import fact_tables, schema
from selfrepair.warehouse.locks import run_held
from selfrepair.warehouse.paths import Warehouse
from selfrepair.warehouse.published.publish import Generation
from selfrepair.warehouse.published.runs import is_known, published_runs
from selfrepair.warehouse.sealed import DamagedError, read_json
from selfrepair_assets.measurement.options import LONGEST, MOST
from selfrepair_assets.steps import published
from selfrepair_assets.steps.precision import sample_note
from selfrepair_assets.steps.sharded.run_folder import RunFolder

MOST_UNPACKED = 100  # times its size in the file, beyond ROOM, may a shard need in memory
ROOM = 2**26
NOT_SETTINGS = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError)


def bring(
    place: str, warehouse: Warehouse, progress: Progress, *, one_file: bool = False
) -> tuple[str, Generation]:
    """Imports the export at a folder or an https:// address; the run's name, and what it became.

    progress: called with the fraction done (0 to 1) and the step under way.
    one_file: all of its rows go into the published file, however large it is.

    Raises RefusedError or another WarehouseError, and leaves the warehouse as it was.
    """
    opened, all_here = source(place)
    sums = layout.read_sums(read_whole(opened, layout.SUMS, layout.MOST_SUMS))
    was_there = warehouse.root.exists()
    try:
        warehouse.prepare()
        with spill_folder(warehouse) as spill:
            staged = Warehouse(spill / "import")
            plan = _staged_plan(opened, sums, staged)
            _refuse_known(warehouse, plan.run_id)
            _copy(opened, sums, staged, plan, all_here, lambda d, s: progress(0.4 * d, s))
            _hold_against_plan(staged, plan)
            progress(0.4, "checking")
            folder = RunFolder(staged, plan.run_id)
            published.check(folder)
            if published.failed_checks(folder):
                failed = [n for n, c in (folder.noted("checks") or {}).items() if not c["passed"]]
                raise RefusedError(f"{plan.run_id} fails {len(failed)} check(s): {failed[0]} first")
            made = _publish(
                staged, warehouse, plan, lambda d, s: progress(0.5 + 0.5 * d, s), one_file
            )
    finally:
        if not was_there:
            _remove_empty(warehouse.root)
    return plan.run_id, made


def _staged_plan(opened: Opened, sums: dict[str, str], staged: Warehouse) -> Plan:
    """The run's plan, once it is found to be one, with the run's folder made in `staged`."""
    folder = staged.root / "plan"
    folder.mkdir(parents=True)
    copied(opened, layout.PLAN, folder / "run.json", sums[layout.PLAN], layout.MOST_NOTE)

    try:
        content = read_json(folder / "run.json", "it is refused") or {}
        run_id, tables = content["run_id"], content["tables"]
        _refuse_odd(content["about"])
        ok = isinstance(run_id, str) and len(run_id) <= LONGEST and run_id.isprintable()
        ok = ok and isinstance(content["fingerprint"], str) and set(tables) <= set(fact_tables())
        for ranges in tables.values():
            ends = [0, *(stop for _, stop in ranges)]
            ok = ok and [start for start, _ in ranges] == ends[:-1] and ends == sorted(set(ends))
            ok = ok and all(type(number) is int for pair in ranges for number in pair)
    except (*NOT_SETTINGS, DamagedError):
        ok = False
    if not ok:
        raise RefusedError(f"{layout.PLAN} is no plan of a run")
    place = staged.run_folder(run_id)
    place.parent.mkdir(parents=True)
    os.rename(folder, place)
    return require_plan(staged, run_id)


def _copy(
    opened: Opened,
    sums: dict[str, str],
    staged: Warehouse,
    plan: Plan,
    all_here: bool,
    progress: Progress,
) -> None:
    """Copies what SHA256SUMS names, and reads the rest too where it is here; all checksums hold."""
    for n, (name, sha256) in enumerate(sorted(sums.items())):
        progress(n / len(sums), "verifying checksums")
        table, to, most = layout.table_of(name), None, shutil.disk_usage(staged.root).free
        if table:
            to = staged.facts(table, plan.run_id) / name.rpartition("/")[2]
            to.parent.mkdir(parents=True, exist_ok=True)
        elif layout.is_read(name):
            to = staged.run_folder(plan.run_id) / name.rpartition("/")[2]
            most = layout.MOST_NOTE
        elif not all_here:
            continue
        copied(opened, name, to, sha256, most if to else 2**63)
        refuse_full_disk(staged.root)


def _hold_against_plan(staged: Warehouse, plan: Plan) -> None:
    """Raises WarehouseError where settings, shards, columns or sizes are not those of a run."""
    folder = RunFolder(staged, plan.run_id)
    row = _row(folder)
    per_sequence = (row["sequence_length"] - 1) * row["n_layers"] * row["n_heads"]
    variants = 2 * len(row["ablations"]) + len(folder.spec.reinforcement_scales)
    if set(plan.tables) != set(fact_tables()):
        raise RefusedError(f"{layout.PLAN} names other tables than this version measures")
    for table, ranges in plan.tables.items():
        place = staged.facts(table, plan.run_id)
        shards = sorted(place.iterdir()) if place.is_dir() else []
        if [range_of(path.name) for path in shards] != ranges:
            raise RefusedError(f"the shards of {table} are not those of the plan")
        if ranges[-1][1] > row["n_sequences"]:
            raise RefusedError(f"{layout.PLAN} has more sequences than the run")
        for path in shards:
            start, stop = range_of(path.name)
            _refuse_other_shard(path, table, plan, (stop - start) * (1 + per_sequence * variants))
        RunTable(staged, table, plan.run_id).write_manifest(plan.fingerprint, shards)


def _row(folder: RunFolder) -> dict[str, Any]:
    """The run's row of `runs`, which its settings must give without measuring anything."""
    try:
        spec, model = folder.spec, folder.model
        sizes = [model[name] for name in ("n_layers", "n_heads", "d_model", "d_mlp", "d_vocab")]
        if not all(type(size) is int and 0 <= size < MOST for size in sizes):
            raise ValueError
        if max(sizes[:2]) > 10_000 or spec.run_id != folder.run_id:
            raise ValueError
        if folder.noted("finished") is None:
            raise ValueError
        if spec.precision != "fp32" and folder.noted(sample_note(folder)) is None:
            raise ValueError  # it would be measured, with a model that the export names
        return published.run_row(folder)
    except (*NOT_SETTINGS, OneLineError):
        raise RefusedError(f"{layout.PLAN} and its notes are not settings of a run") from None


def _refuse_other_shard(path: Path, table: str, plan: Plan, most_rows: int) -> None:
    """Raises RefusedError where a shard has other columns than its table, or is beyond bounds."""
    want = schema(table)
    try:
        file = pq.ParquetFile(path)
        there, about = file.schema_arrow, file.metadata
        unpacked = sum(about.row_group(n).total_byte_size for n in range(about.num_row_groups))
        footer = about.metadata or {}
    except (pa.ArrowException, OSError, ValueError):
        raise RefusedError(f"{path.name} of {table} is no Parquet file") from None
    missing = set(want.names) - set(there.names)
    same = len(set(there.names)) == len(there.names) and all(
        field.name in want.names and field.type == want.field(field.name).type for field in there
    )
    if not same or any(not want.field(name).nullable for name in missing):
        raise RefusedError(f"{path.name} has other columns than sql/tables/{table}.sql")
    told = (footer.get(b"table"), footer.get(b"run_id"), shard_fingerprint(path))
    if told != (table.encode(), plan.run_id.encode(), plan.fingerprint):
        raise RefusedError(f"{path.name} of {table} is of another run")
    if about.num_rows > most_rows or unpacked > MOST_UNPACKED * path.stat().st_size + ROOM:
        raise RefusedError(f"{path.name} of {table} is larger than the run can be")


def _publish(
    staged: Warehouse,
    warehouse: Warehouse,
    plan: Plan,
    progress: Callable[[float, str], None],
    one_file: bool,
) -> Generation:
    """Moves the run to its place, where it is published or, failing that, gone again."""
    run_id = plan.run_id
    with run_held(warehouse, run_id):
        _refuse_known(warehouse, run_id)  # it may have been begun here since, and is not ours then
        with _removed_unless_published(warehouse, run_id):
            os.rename(staged.run_folder(run_id), warehouse.run_folder(run_id))
            for table in plan.tables:
                to = warehouse.facts(table, run_id)
                to.parent.mkdir(parents=True, exist_ok=True)
                os.rename(staged.facts(table, run_id), to)
            folder = RunFolder(warehouse, run_id)
            return published.publish_run(folder, progress=progress, one_file=one_file)


def _refuse_known(warehouse: Warehouse, run_id: str) -> None:
    if is_known(warehouse, run_id):
        raise RefusedError(
            f"{run_id} is in {warehouse.root} already: `selfrepair delete` it there, "
            "or name another --warehouse"
        )


@contextmanager
def _removed_unless_published(warehouse: Warehouse, run_id: str) -> Iterator[None]:
    try:
        yield
    except BaseException:
        if run_id not in published_runs(warehouse):
            RunFolder(warehouse, run_id).remove()
            warehouse.run_lock(run_id).unlink(missing_ok=True)
        raise


def _refuse_odd(value: Any, depth: int = 0) -> None:
    """Raises ValueError for a setting that no run has: long or unprintable text, a deep tree."""
    if isinstance(value, dict) and depth < 4:
        for pair in value.items():
            _refuse_odd(list(pair), depth)
    elif isinstance(value, list) and depth < 8:
        for one in value:
            _refuse_odd(one, depth + 1)
    elif isinstance(value, str):
        if len(value) > LONGEST or not value.isprintable():
            raise ValueError
    elif value is not None and type(value) not in (int, float, bool):
        raise ValueError


def _remove_empty(root: Path) -> None:
    """Removes a warehouse that was made for an import and holds nothing."""
    for folder in ("scratch", "facts", "runs", "generations", "."):
        with suppress(OSError):
            (root / folder).rmdir()
