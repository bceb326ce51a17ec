"""What of a run can be published before it is measured to the end: its first sequences.

A run's sequences are a random sample in random order, so that the first ones are a sample of it.
A part is of the longest row of shards, from the first on, that are measured in the precision which
the run has now; it never has all of them: with its last shard a run is whole, or nearly so.
"""

from __future__ import annotations

import time

from selfrepair.warehouse.errors import WarehouseError
from selfrepair.warehouse.facts.run_facts import part_of, restore_manifests
from selfrepair.warehouse.published.publish import Generation
from selfrepair.warehouse.published.runs import row_as_published
from selfrepair_assets.steps.head_ablations import HEAD_ABLATIONS
from selfrepair_assets.steps.precision import layer_precision, superseded
from selfrepair_assets.steps.published import publish_run
from selfrepair_assets.steps.sharded.run_folder import RunFolder

SHARES = (1 / 8, 1 / 4, 1 / 2)
"""Of a run's sequences, when they are measured, a part is published."""
EARLY_SHARES = (1 / 64, 1 / 32, 1 / 16)
"""Before these, of EARLY_SEQUENCES, where there is time to publish the next three parts too."""
EARLY_SEQUENCES = 4
LEAST_LEFT = 120.0
"""Seconds: what is measured to the end before that is not worth a publishing."""
MOST_OF_RUN = 0.1
"""The share of a run's time that publishing its parts may take in all."""
LAST_AT_FIRST = 5.0
"""Seconds that publishing a part is thought to take, before one was published."""
COPIED_IN_A_SECOND = 1e8
"""Bytes of the published file, of which each publishing makes a copy, on a slow disk."""
SPENT = "parts"
"""The note of how long publishing parts has taken."""


def measured_part(folder: RunFolder) -> int:
    """How many of the run's first sequences are measured, short of its last shard; 0 for none."""
    if not folder.table("head_ablations").ranges():
        return 0
    precision, reached = layer_precision(folder), 0
    for shard in folder.shards[:-1]:
        if not HEAD_ABLATIONS.is_done(folder, shard, precision):
            break
        reached = shard.stop
    return reached


def part_to_publish(folder: RunFolder) -> int | None:
    """The part that can be published now; None where the whole run can.

    Of a run that was stopped, what is measured is the whole.

    Raises:
        WarehouseError: none can, or what is published of the run has as many sequences, or all.
    """
    if folder.stopped_at is not None:
        return None
    why = WarehouseError(f"{folder.run_id} is not measured to the end")
    try:
        restore_manifests(folder.warehouse, folder.run_id)
        if not superseded(folder):
            return None
    except WarehouseError as error:
        why = error
    part = measured_part(folder)
    if not part:
        raise why
    there, of = published_sequences(folder)
    if there and (there == of or there >= part):
        raise WarehouseError(
            f"{why}; its first {part} sequences are measured, and are not published in the place "
            f"of the {there} that are"
        )
    return part


def part_that_is_due(folder: RunFolder, done: float, seconds: float, left: float) -> int | None:
    """The part to publish now, while the run goes on; None where that must wait, or is there.

    When one of `SHARES` is measured, or one of `EARLY_SHARES`; where the rest takes longer than
    `LEAST_LEFT`; and where the publishings take no more than `MOST_OF_RUN` of the run's time in
    all, if this one takes as long as the last one did, and after an early one three more do.

    Args:
        done: the share of the work that is done.
        seconds: that it has taken so far.
        left: seconds that the rest of the run will take.
    """
    if left < LEAST_LEFT or done < EARLY_SHARES[0]:
        return None
    part, of = measured_part(folder), folder.spec.n_sequences
    shares = SHARES if part < EARLY_SEQUENCES else (*EARLY_SHARES, *SHARES)
    reached = max((share * of for share in shares if part >= share * of), default=0)
    there, planned = published_sequences(folder)
    if there >= reached or there == planned > 0:
        return None
    publishings = 1 if reached >= SHARES[0] * of else 1 + len(SHARES)
    spent, last = _spent(folder)
    most = MOST_OF_RUN * (seconds + spent + left)
    return part if spent + publishings * last <= most else None


def publish_part(folder: RunFolder, part: int) -> Generation:
    """Publish a part, and note how long that takes."""
    began = time.monotonic()
    generation = publish_run(folder, part=part)
    last = time.monotonic() - began
    folder.note(SPENT, {"seconds": _spent(folder)[0] + last, "last": last})
    return generation


def _spent(folder: RunFolder) -> tuple[float, float]:
    """Seconds that publishing parts of the run has taken, and that it will take once more."""
    noted, served = folder.noted(SPENT), folder.warehouse.serving
    if noted is not None:
        return noted["seconds"], noted["last"]
    copied = served.stat().st_size if served.exists() else 0
    return 0.0, LAST_AT_FIRST + copied / COPIED_IN_A_SECOND


def published_sequences(folder: RunFolder) -> tuple[int, int]:
    """How many sequences are published of the run, and of how many; (0, 0) where it is not."""
    row = row_as_published(folder.warehouse, folder.run_id)
    if row is None:
        return 0, 0
    return part_of(row) or row["n_sequences"], row["n_sequences"]
