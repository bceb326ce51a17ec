"""A run measured step after step, by any executor."""

from collections.abc import Iterator
from pathlib import Path

from selfrepair.warehouse.paths import Warehouse
from selfrepair_assets.measurement.run_spec import RunSpec
from selfrepair_assets.steps.clean_run import CLEAN_RUN
from selfrepair_assets.steps.head_ablations import HEAD_ABLATIONS, keep_top_rows
from selfrepair_assets.steps.neuron_changes import neuron_changes
from selfrepair_assets.steps.precision import layer_precision
from selfrepair_assets.steps.run_spec import prepare, start
from selfrepair_assets.steps.self_reinforcement import SELF_REINFORCEMENT
from selfrepair_assets.steps.sharded.run_folder import RunFolder
from selfrepair_assets.steps.sharded.step import Executor, Step
from selfrepair_assets.steps.sharded.stored_shards import collect


def steps_of(folder: RunFolder) -> Iterator[Step]:
    """The steps of a run, each when those before it are measured."""
    yield CLEAN_RUN
    keep_top_rows(folder)
    yield HEAD_ABLATIONS
    yield neuron_changes(folder)
    yield SELF_REINFORCEMENT


def shard_names(root: Path) -> list[str]:
    """The names of all shards, which carry their checksums: the same bytes have the same names."""
    return sorted(str(path.relative_to(root)) for path in root.glob("facts/*/*/*.parquet"))


def measured_anew(execute: Executor, root: Path, spec: RunSpec) -> tuple[list[str], dict[str, int]]:
    """Starts a run and measures it to its end; its shards, and the work of each step."""
    folder = RunFolder(Warehouse(root), spec.run_id)
    start(folder, prepare(spec))
    work = measured_by(execute, folder)
    return shard_names(root), work


def measured_by(execute: Executor, folder: RunFolder) -> dict[str, int]:
    """Measures all that is missing, step after step; the work that each told of, by title."""
    told: dict[str, int] = {}

    for step in steps_of(folder):
        missing, parts = step.missing(folder), list[int]()
        done = list(execute(step, folder, missing, parts.append))
        assert sorted(done, key=str) == missing == folder.shards_of(step.tables[0])
        assert sum(parts) == step.work(folder, missing)
        assert step.missing(folder) == []
        assert not step.measure(folder, missing[0], parts.append), "it was measured again"
        for table in step.tables:
            collect(folder, table, layer_precision(folder))
        told[step.title] = sum(parts)
    return told
