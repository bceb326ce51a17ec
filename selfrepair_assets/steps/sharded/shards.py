"""How a run is cut in shards: the parts that are measured, stored and lost one by one."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from selfrepair.warehouse.facts.tables import fact_tables
from selfrepair_assets.measurement.run_spec import RunSpec


@dataclass(frozen=True)
class Shard:
    """Sequences `start` (inclusive) to `stop` (exclusive)."""

    start: int
    stop: int

    def __str__(self) -> str:
        return f"sequences-{self.start:06d}-{self.stop:06d}"


def planned_tables(
    spec: RunSpec, n_heads: int, device_type: str
) -> dict[str, list[tuple[int, int]]]:
    """The shards of each table: of all sequences, or of those that heads are fed on."""
    every = _plan(spec, n_heads, device_type)
    fed = spec.n_reinforcement_sequences
    first = [(start, min(stop, fed)) for start, stop in every if start < fed]
    return {table: first if table == "self_reinforcement" else every for table in fact_tables()}


def _plan(spec: RunSpec, n_heads: int, device_type: str) -> list[tuple[int, int]]:
    """Cut the run's sequences in shards; the first in two, whose answers can be seen earlier."""
    n, size = spec.n_sequences, spec.sequences_in_shard(n_heads, device_type)
    starts = list(range(0, n, size))
    if spec.shard_sequences is None and size > 1:
        starts.insert(1, size // 2)
    return list(pairwise((*starts, n)))
