"""What is damaged in a warehouse, and what of that can be mended without measuring.

Everything that was written carries its checksum, so that all of it can be looked through. Nothing
is thrown away: damaged files are set aside, and the run that they belong to measures them again.
A run, or the published file, that somebody is at work on is left to them.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from selfrepair.warehouse.connection import dead_spills, remove_dead_spills
from selfrepair.warehouse.errors import WarehouseError
from selfrepair.warehouse.facts.plan import Plan, all_plans
from selfrepair.warehouse.facts.run_facts import (
    leftovers_of,
    remove_leftovers,
    restore_manifests,
    set_damaged_aside,
)
from selfrepair.warehouse.facts.run_table import RunTable
from selfrepair.warehouse.facts.shards import is_shard
from selfrepair.warehouse.locks import held, is_held, run_held
from selfrepair.warehouse.object_store import store_of
from selfrepair.warehouse.paths import Warehouse
from selfrepair.warehouse.published import generations
from selfrepair.warehouse.published.build_anew import look_into, published_rows
from selfrepair.warehouse.published.publish import publish_anew
from selfrepair.warehouse.sealed import (
    DAMAGED,
    SEALED,
    DamagedError,
    is_intact,
    read_json,
    set_aside,
)

Looked = Callable[[Path], None]


@dataclass(frozen=True)
class Trouble:
    """Something that is not as it was written.

    what: what is wrong, and where.
    way_out: what mends it, or what it needs that cannot be done here.
    run_id: the run that must measure again, where one must.
    mend: does what can be done without measuring; None where that is nothing.
    """

    what: str
    way_out: str
    run_id: str | None = None
    mend: Callable[[], object] | None = None


def troubles(warehouse: Warehouse, looked: Looked | None = None) -> Iterator[Trouble]:
    """Everything in a warehouse that is not as it was written; reads all of it.

    looked: is told of each file that was read. Mend in this order: the published file is built anew
    from shards that were looked at before it.
    """
    if not warehouse.is_made:
        return
    looked = looked or (lambda _path: None)
    yield from _of_store(warehouse)
    for plan in all_plans(warehouse):
        if isinstance(plan, Plan):
            yield from _of_run(warehouse, plan, looked)
        else:
            what, _, way_out = str(plan).partition(": ")
            yield Trouble(what, way_out or "measure the run anew with --restart")
    yield from _of_published(warehouse, looked)
    spills = dead_spills(warehouse)
    if spills:
        yield Trouble(
            f"{warehouse.scratch} holds what {len(spills)} ended connection(s) left",
            "removes it",
            mend=lambda: remove_dead_spills(warehouse),
        )


def set_aside_before(warehouse: Warehouse) -> list[Path]:
    """What was set aside as damaged, now or before: kept until somebody removes it."""
    return sorted(path for path in warehouse.root.rglob(f"*{DAMAGED}*"))


def n_files(warehouse: Warehouse) -> int:
    """How many files `troubles` will read."""
    sealed = [p for p in warehouse.root.rglob("*") if SEALED.fullmatch(p.name)]
    return len(sealed) + 1


def _of_store(warehouse: Warehouse) -> Iterator[Trouble]:
    """Nobody but its user knows what the address of the facts was."""
    try:
        store_of(warehouse)
    except WarehouseError as error:
        what, _, way_out = str(error).partition(": ")
        yield Trouble(what, way_out)


def _of_run(warehouse: Warehouse, plan: Plan, looked: Looked) -> Iterator[Trouble]:
    run_id = plan.run_id
    if is_held(warehouse.run_lock(run_id)):
        return  # whoever measures it looks at it too
    tables = [RunTable(warehouse, table, run_id) for table in plan.tables]
    own = warehouse.run_folder(run_id)
    shards, others = list[Path](), list[Path]()
    for folder in (*(table.folder for table in tables), own, own / "z_sums"):
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            if SEALED.fullmatch(path.name):
                right = is_intact(path, afresh=True)
                looked(path)
                if not right:
                    (shards if is_shard(path) else others).append(path)
            elif path.suffix == ".json":
                try:
                    read_json(path, "")
                except DamagedError:
                    others.append(path)
    gone = [path for table in tables for path in _gone(table)]
    if shards or gone:
        files = [path.name.partition(".")[0] + f" of {_table(path)}" for path in shards + gone]
        yield Trouble(
            f"{run_id}: {len(shards)} damaged and {len(gone)} missing shard(s): {_some(files)}",
            "sets damaged ones aside; the run measures them again",
            run_id,
            lambda: _in_hand(warehouse, run_id, lambda: set_damaged_aside(warehouse, run_id)),
        )
    if others:
        yield Trouble(
            f"{run_id}: damaged: {_some([str(path) for path in others])}",
            "sets them aside; they are made anew from the shards, the text or the model",
            None if all(path.name == "manifest.json" for path in others) else run_id,
            lambda: _in_hand(warehouse, run_id, lambda: _aside(warehouse, run_id, others)),
        )
    elif not (shards or gone) and (own / "published.json").is_file():
        lost = [table.table for table in tables if table.manifest() is None]
        if lost:
            yield Trouble(
                f"{run_id}: published, and the manifests of {', '.join(lost)} are gone",
                "writes them anew from the shards, where these are all there",
                run_id if _missing(warehouse, plan) else None,
                lambda: _in_hand(warehouse, run_id, lambda: _restore(warehouse, run_id)),
            )
    left = leftovers_of(warehouse, run_id)
    if left:
        yield Trouble(
            f"{run_id}: {len(left)} half-written file(s) of a process that is gone",
            "removes them",
            mend=lambda: _in_hand(warehouse, run_id, lambda: remove_leftovers(warehouse, run_id)),
        )


def _of_published(warehouse: Warehouse, looked: Looked) -> Iterator[Trouble]:
    if is_held(warehouse.lock):
        return  # whoever publishes looks at it too
    last = generations.last(warehouse)
    if last:
        looked(last.path)
    known = published_rows(warehouse)
    contents = look_into(last)
    bad = []
    for path in generations.outside_of(last.path) if last else []:
        if not is_intact(path, afresh=True):
            bad.append(path)
        looked(path)
    if bad:
        yield Trouble(
            f"published runs: {len(bad)} damaged or missing file(s): {_some(list(map(str, bad)))}",
            "sets damaged ones aside, and builds the published file anew from the shards; a run "
            "whose shards were dropped must be measured again",
            mend=lambda: _publish_without(warehouse, bad),
        )
    elif (last or known) and not contents.is_whole:
        state = "is gone" if last is None or last.state == "older" else "is not what was published"
        if last and last.state == "unproven" and contents.usable:
            state = "has no checksum"
        yield Trouble(
            f"{warehouse.serving}: the published file {state}",
            "builds it anew from the shards of the published runs",
            mend=lambda: _publish_anew(warehouse),
        )
    elif last and generations.current(warehouse) is None:
        yield Trouble(
            f"{warehouse.serving} is gone, which leads to {last.path.name}",
            "publishes what was published again",
            mend=lambda: _publish_anew(warehouse),
        )
    left = generations.leftovers(warehouse)
    if left:
        yield Trouble(
            f"{warehouse.root}: {len(left)} half-built file(s) of a publisher that is gone, or "
            "files that nothing names",
            "removes them",
            mend=lambda: _remove_half_built(warehouse),
        )


def _gone(table: RunTable) -> list[Path]:
    """Shards that a manifest names and that are not there; a damaged one names none."""
    try:
        return table.missing()
    except DamagedError:
        return []


def _missing(warehouse: Warehouse, plan: Plan) -> bool:
    """Whether a shard of the plan is not there."""
    return any(
        set(ranges) - RunTable(warehouse, table, plan.run_id).ranges()
        for table, ranges in plan.tables.items()
    )


def _in_hand(warehouse: Warehouse, run_id: str, mend: Callable[[], object]) -> None:
    with run_held(warehouse, run_id):
        mend()


def _aside(warehouse: Warehouse, run_id: str, paths: list[Path]) -> None:
    for path in paths:
        if path.exists():
            set_aside(path)
    _restore(warehouse, run_id)


def _restore(warehouse: Warehouse, run_id: str) -> None:
    with suppress(WarehouseError):  # a shard is missing too: the run command's to measure
        restore_manifests(warehouse, run_id)


def _publish_without(warehouse: Warehouse, damaged: list[Path]) -> None:
    for path in damaged:
        if path.exists() and not is_intact(path, afresh=True):
            set_aside(path)
    publish_anew(warehouse)


def _publish_anew(warehouse: Warehouse) -> None:
    publish_anew(warehouse)


def _remove_half_built(warehouse: Warehouse) -> None:
    with held(warehouse.lock, "another publisher is at work ({holder})"):
        generations.remove_leftovers(warehouse)


def _table(path: Path) -> str:
    return path.parent.parent.name


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
