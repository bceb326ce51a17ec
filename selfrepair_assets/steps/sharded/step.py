"""A step that is measured shard by shard, and who measures its shards.

    missing ─► an executor measures each, in whichever order and wherever ─► collect

A step is a value that can be pickled, and a shard is measured from the run's folder alone: an
executor that has other processes or machines do it needs no more than the step and the shards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from selfrepair_assets.measurement.engine.measure import Progress
from selfrepair_assets.steps.sharded.run_folder import RunFolder
from selfrepair_assets.steps.sharded.shards import Shard


@dataclass(frozen=True)
class Step:
    """One step of a run.

    Attributes:
        title: what its progress is called.
        unit: what its work is counted in.
        tables: those that it fills, each with the same shards.
        missing: of a run's folder, the shards that are still to be measured, or anew.
        measure: one shard, and tells of its progress; False where it was there already.
        work: the units in some shards.
        is_run: whether its shards are what a run consists of, so that with some of them a part of
            the run can be published.
    """

    title: str
    unit: str
    tables: tuple[str, ...]
    missing: Callable[[RunFolder], list[Shard]]
    measure: Callable[[RunFolder, Shard, Progress], bool]
    work: Callable[[RunFolder, Sequence[Shard]], int]
    is_run: bool = False

    def left(self, folder: RunFolder) -> list[Shard]:
        """The missing shards; of a run that was stopped, those of what is measured of it."""
        part = folder.stopped_at
        return [shard for shard in self.missing(folder) if part is None or shard.stop <= part]


Executor = Callable[[Step, RunFolder, Sequence[Shard], Progress], Iterator[Shard]]
"""Measures shards of a step, and gives each when it is on disk; progress is told in its units."""


def in_this_process(
    step: Step, folder: RunFolder, shards: Sequence[Shard], progress: Progress
) -> Iterator[Shard]:
    """One shard after the other, with the model loaded once."""
    for shard in shards:
        step.measure(folder, shard, progress)
        yield shard
