"""Which runs are measured now or wait to be finished: read from their folders, not from DuckDB."""

import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from selfrepair.warehouse.facts.plan import Plan, all_plans
from selfrepair.warehouse.facts.run_table import RunTable
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
        return self.shards_done / self.n_shards

    @property
    def seems_running(self) -> bool:
        return self.silent_for < 300


def unfinished(warehouse: Warehouse, published: Collection[str]) -> list[Unfinished]:
    """The runs that are begun and not in `published`, the liveliest first; none whose plan is
    damaged."""
    plans = [plan for plan in all_plans(warehouse) if isinstance(plan, Plan)]
    runs = [_looked_at(warehouse, plan) for plan in plans if plan.run_id not in published]
    return sorted(runs, key=lambda run: run.silent_for)


def is_measured(warehouse: Warehouse, plan: Plan) -> bool:
    """Whether all shards of the heads are there."""
    return _planned(plan) <= RunTable(warehouse, "head_ablations", plan.run_id).ranges()


def _looked_at(warehouse: Warehouse, plan: Plan) -> Unfinished:
    planned = _planned(plan)
    facts = RunTable(warehouse, "head_ablations", plan.run_id)
    done = planned & facts.ranges()
    return Unfinished(
        plan.run_id,
        len(done),
        len(planned),
        _silence([warehouse.run_folder(plan.run_id), facts.folder]),
    )


def _planned(plan: Plan) -> set[tuple[int, int]]:
    return set(plan.tables["head_ablations"])


def _silence(paths: list[Path]) -> float:
    """Seconds since something was put into, or taken out of, the newest of these folders."""
    times = [path.stat().st_mtime for path in paths if path.exists()]
    return max(0.0, time.time() - max(times)) if times else float("inf")
