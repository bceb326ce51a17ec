"""Shards on disk: one is written once, stays as it is, and is read only where it is intact."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from enum import Enum
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

from selfrepair.warehouse.facts.shards import MEASURE_AGAIN
from selfrepair.warehouse.sealed import DamagedError
from selfrepair_assets.measurement.engine.fast_error import LayerPrecision
from selfrepair_assets.steps.sharded.run_folder import RunFolder
from selfrepair_assets.steps.sharded.shards import Shard

Part = TypeVar("Part")
Columns = Mapping[str, Any]
"""A table's columns by name: arrays whose shapes broadcast together."""


def shard_is_done(
    folder: RunFolder, table: str, shard: Shard, precision: LayerPrecision | None = None
) -> bool:
    """Whether the shard is there, as it was written, measured for this run's settings and text.

    precision: that it must have been measured in, for the tables that depend on it.
    """
    return _intact(folder, table, shard, precision) is not None


def stored_shard(
    folder: RunFolder, table: str, shard: Shard, precision: LayerPrecision | None = None
) -> Path:
    """The file of a shard that was measured; DamagedError where it is not there any more."""
    path = _intact(folder, table, shard, precision)
    if path is None:
        raise DamagedError(
            f"a shard of {table} for {folder.run_id}, {shard}, is gone or damaged: {MEASURE_AGAIN}"
        )
    return path


def store_shard(
    folder: RunFolder,
    table: str,
    shard: Shard,
    rows: Columns | Iterable[Columns],
    precision: LayerPrecision | None = None,
) -> None:
    """Write one shard; `rows` in one part or in several, as `RunTable.write` says.

    One that is there stays as it is: a run killed between two tables of a shard measures both
    again, and writes the one that is missing.
    """
    if shard_is_done(folder, table, shard, precision):
        return
    tag = precision.tag if precision else None
    folder.table(table).write(shard.start, shard.stop, rows, folder.fingerprint, tag)


def store_tables(
    folder: RunFolder,
    shard: Shard,
    parts: Iterable[Part],
    rows_of: Mapping[str, Callable[[Part], Columns | None]],
    precision: LayerPrecision | None = None,
) -> None:
    """Write a shard of some tables, each in a thread of its own, while its parts are measured.

    A part goes to all tables as soon as it is there, and the next one is measured meanwhile. Where
    measuring fails, or a table, those tables that are not whole by then are not stored.

    Args:
        rows_of: of each table, its rows of a part, None for none; the parts are in the order of a
            shard's rows.
    """
    queues: list[SimpleQueue[Part | _End]] = [SimpleQueue() for _ in rows_of]
    with ThreadPoolExecutor(len(queues)) as pool:
        writers = [
            pool.submit(store_shard, folder, table, shard, _taken(queue, rows), precision)
            for queue, (table, rows) in zip(queues, rows_of.items(), strict=True)
        ]
        end = _End.GIVEN_UP
        try:
            for part in parts:
                for queue in queues:
                    queue.put(part)
                _raise_what_failed(writers)
            end = _End.COMPLETE
        finally:
            for queue in queues:
                queue.put(end)
    _raise_what_failed(writers)


class _End(Enum):
    COMPLETE = 1
    GIVEN_UP = 2


class _GivenUpError(Exception):
    """Ends the writing of a table whose parts do not all come."""


def _taken(queue: SimpleQueue[Any], rows: Callable[[Any], Columns | None]) -> Iterator[Columns]:
    while (part := queue.get()) is not _End.COMPLETE:
        if part is _End.GIVEN_UP:
            raise _GivenUpError
        columns = rows(part)
        if columns is not None:
            yield columns


def _raise_what_failed(writers: Iterable[Future[None]]) -> None:
    """Raises what a writer has raised by now; the others are given up after it."""
    for writer in writers:
        if writer.done() and (error := writer.exception()) is not None:
            raise error


def collect(folder: RunFolder, table: str, precision: LayerPrecision | None = None) -> int:
    """Name a table's shards, all of the plan, in its manifest; returns its rows.

    Of a run that was stopped no manifest is written: its table is a part of what was planned.
    """
    if folder.stopped_at is not None:
        return folder.table(table).row_count()
    paths = [stored_shard(folder, table, shard, precision) for shard in folder.shards_of(table)]
    manifest = folder.table(table).write_manifest(folder.fingerprint, paths)
    return sum(entry["rows"] for entry in manifest["shards"])


def _intact(
    folder: RunFolder, table: str, shard: Shard, precision: LayerPrecision | None
) -> Path | None:
    tag = precision.tag if precision else None
    return folder.table(table).intact(shard.start, shard.stop, folder.fingerprint, tag)
