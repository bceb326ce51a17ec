"""A run measured step after step, by any executor."""

from collections.abc import Iterator

from selfrepair_assets.steps.clean_run import CLEAN_RUN
from selfrepair_assets.steps.head_ablations import HEAD_ABLATIONS, keep_top_rows
from selfrepair_assets.steps.neuron_changes import neuron_changes
from selfrepair_assets.steps.precision import layer_precision
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
