"""Runs that are begun and not published: how far they are, and whether something writes them."""

import os
import time
from pathlib import Path

from selfrepair.warehouse.facts.plan import read_plan
from selfrepair.warehouse.facts.unfinished import is_measured, unfinished
from selfrepair.warehouse.paths import Warehouse
from tests.helpers.runs.small_run import run_row, write_run


def test_unfinished_runs_the_liveliest_first(tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path).prepare()
    assert unfinished(warehouse, []) == []
    for run_id in ("old", "half", "published"):
        shards = write_run(warehouse, run_row(run_id), shard=2)["head_ablations"]
        if run_id == "half":
            shards[0].unlink()
    an_hour_ago = time.time() - 3600
    for folder in (warehouse.run_folder("old"), warehouse.facts("head_ablations", "old")):
        os.utime(folder, (an_hour_ago, an_hour_ago))
    half, old = unfinished(warehouse, ["published"])
    assert (half.run_id, half.shards_done, half.n_shards, half.share) == ("half", 1, 2, 0.5)
    assert half.seems_running
    assert (old.run_id, old.share) == ("old", 1.0)
    assert old.silent_for > 3000
    assert not old.seems_running
    for run_id, measured in (("half", False), ("old", True)):
        plan = read_plan(warehouse, run_id)
        assert plan is not None
        assert is_measured(warehouse, plan) is measured
