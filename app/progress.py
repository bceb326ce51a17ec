"""Which runs are measured now or wait to be finished: read from their folders, not from DuckDB."""

import json
import time
from dataclasses import dataclass
from pathlib import Path

from warehouse.paths import Warehouse


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
    for spec in sorted((warehouse.root / "runs").glob("*/spec.json")):
        told = _json(spec)
        model, revision = told.get("model"), told.get("revision")
        if not isinstance(model, str):
            continue
        run_id = f"{model}@{revision}" if revision else model
        if run_id in published:
            continue
        shards = _json(spec.with_name("plan.json")).get("shards", [])
        facts = warehouse.facts("head_ablations", run_id)
        done = list(facts.glob("sequences-*.parquet"))
        n_shards = len(shards) if isinstance(shards, list) else 0
        found.append(Unfinished(run_id, len(done), n_shards, _silence([spec.parent, facts, *done])))
    return sorted(found, key=lambda run: run.silent_for)


def _silence(paths: list[Path]) -> float:
    """Seconds since the newest of these was changed."""
    times = [path.stat().st_mtime for path in paths if path.exists()]
    return max(0.0, time.time() - max(times)) if times else float("inf")


def _json(file: Path) -> dict[str, object]:
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # not there yet, or being written
        return {}
    return told if isinstance(told, dict) else {}
