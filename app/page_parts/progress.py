"""Which runs are measured now or wait to be finished: read from their folders, not from DuckDB."""

import time
from dataclasses import dataclass
from pathlib import Path

from selfrepair.warehouse.facts.plan import Plan, all_plans
from selfrepair.warehouse.facts.shards import shards_there
from selfrepair.warehouse.paths import Warehouse


@dataclass(frozen=True)
class Unfinished:
    """A run that has been begun and is not published.

    silent_for: seconds since it last wrote anything.
    """

    run_id: str
    shards_done: int
    n_shards: int
    silent_for: float

    @property
    def share(self) -> float:
        return min(1.0, self.shards_done / self.n_shards) if self.n_shards else 0.0

    @property
    def seems_running(self) -> bool:
        return self.silent_for < 300


def unfinished(warehouse: Warehouse, published: set[str]) -> list[Unfinished]:
    """The runs of the warehouse's folder that are not in `published`, the liveliest first."""
    found = []
    for plan in all_plans(warehouse):
        if not isinstance(plan, Plan) or plan.run_id in published:
            continue
        planned = set(plan.tables["head_ablations"])
        done = planned & shards_there(warehouse, "head_ablations", plan.run_id)
        facts = warehouse.facts("head_ablations", plan.run_id)
        silence = _silence([warehouse.run_folder(plan.run_id), facts])
        found.append(Unfinished(plan.run_id, len(done), len(planned), silence))
    return sorted(found, key=lambda run: run.silent_for)


def _silence(paths: list[Path]) -> float:
    """Seconds since something was put into, or taken out of, the newest of these folders."""
    times = [path.stat().st_mtime for path in paths if path.exists()]
    return max(0.0, time.time() - max(times)) if times else float("inf")
