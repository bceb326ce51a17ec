"""A step that is measured shard by shard, and who measures its shards.

    missing ─► an executor measures each, in whichever order and wherever ─► collect

A step is a value that can be pickled, and a shard is measured from the run's folder alone: an
executor that has other processes or machines do it needs no more than the step and the shards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from selfrepair_assets.measurement.engine.fast_error import LayerPrecision
from selfrepair_assets.measurement.engine.measure import Progress
from selfrepair_assets.steps.sharded.run_folder import RunFolder
from selfrepair_assets.steps.sharded.shards import Shard
from selfrepair_assets.steps.sharded.stored_shards import shard_is_done


@dataclass(frozen=True)
class Step:
    """One step of a run.

    Attributes:
        title: what its progress is called.
        unit: what its work is counted in.
        tables: those that it fills, each with the same shards.
        measure: one shard, and tells of its progress; False where it was there already.
        work: the units in some shards.
        is_run: whether its shards are what a run consists of, so that with some of them a part of
            the run can be published.
        precision: of a run's folder, what its shards must have been measured in, if that matters.
        also: what a shard must have beside its tables.
    """

    title: str
    unit: str
    tables: tuple[str, ...]
    measure: Callable[[RunFolder, Shard, Progress], bool]
    work: Callable[[RunFolder, Sequence[Shard]], int]
    is_run: bool = False
    precision: Callable[[RunFolder], LayerPrecision] | None = None
    also: Callable[[RunFolder, Shard], bool] | None = None

    def is_done(
        self, folder: RunFolder, shard: Shard, precision: LayerPrecision | None = None
    ) -> bool:
        """Whether a shard is measured in the precision that the run has now (None: asks for it)."""
        if precision is None and self.precision is not None:
            precision = self.precision(folder)
        there = all(shard_is_done(folder, table, shard, precision) for table in self.tables)
        return there and (self.also is None or self.also(folder, shard))

    def missing(self, folder: RunFolder) -> list[Shard]:
        """The shards that are still to be measured, or anew."""
        precision = None if self.precision is None else self.precision(folder)
        shards = folder.shards_of(self.tables[0])
        return [shard for shard in shards if not self.is_done(folder, shard, precision)]

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
