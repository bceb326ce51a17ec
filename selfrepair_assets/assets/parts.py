"""Answers while a run is measured: what there is of it is published, now and then."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg

from selfrepair.warehouse.errors import WarehouseError
from selfrepair_assets.progress import Work
from selfrepair_assets.steps.parts import part_that_is_due, publish_part
from selfrepair_assets.steps.self_reinforcement import SELF_REINFORCEMENT
from selfrepair_assets.steps.sharded.run_folder import RunFolder

Listener = Callable[[RunFolder], None]
_listeners: list[Listener] = []


@contextmanager
def told_of_parts(listener: Listener) -> Iterator[None]:
    """Calls `listener` in this process each time when a part of a run was published."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def publish_part_if_due(context: Any, folder: RunFolder, work: Work) -> None:
    """Between two shards: publish what is measured, where that is due (`steps/parts.py`).

    What is left of the run is the rest of the heads, and self-reinforcement after them, which is
    counted in head-tokens too and takes about as long for each.

    The run goes on where it cannot be published: what is served stays, and the log says why.
    """
    try:
        after = SELF_REINFORCEMENT.work(folder, SELF_REINFORCEMENT.left(folder))
        left = work.seconds_left + work.seconds_for(after)
        part = part_that_is_due(folder, work.done / work.total, work.seconds, left)
        if part is None:
            return
        with work.paused():
            generation = publish_part(folder, part)
    except WarehouseError as error:
        context.log.warning(str(error))
        return
    context.log_event(
        dg.AssetObservation(
            "runs",
            partition=context.partition_key,
            metadata={"n_sequences_measured": part, "generation": generation.number},
        )
    )
    for listener in _listeners:
        listener(folder)
