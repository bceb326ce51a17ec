"""The seam between a step and who measures its shards: any executor measures the same."""

import pickle
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from selfrepair.warehouse.paths import Warehouse
from selfrepair_assets.measurement.engine.measure import Progress
from selfrepair_assets.measurement.run_spec import RunSpec
from selfrepair_assets.steps.run_spec import prepare, start
from selfrepair_assets.steps.sharded.run_folder import RunFolder
from selfrepair_assets.steps.sharded.shards import Shard
from selfrepair_assets.steps.sharded.step import Step, in_this_process
from tests.helpers.models.families import save
from tests.helpers.runs.asset_runs import LENGTH, write_text
from tests.helpers.runs.step_runs import measured_by


def elsewhere(
    step: Step, folder: RunFolder, shards: Sequence[Shard], progress: Progress
) -> Iterator[Shard]:
    """As other processes do: each shard from what a pickle holds, and the last one first."""
    for shard in reversed(shards):
        there, folder_there = pickle.loads(pickle.dumps((step, folder)))
        assert there.measure(folder_there, shard, progress)
        yield shard


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> RunSpec:
    folder = tmp_path_factory.mktemp("models")
    save("gpt2", folder / "gpt2")
    return RunSpec(
        model=str(folder / "gpt2"),
        corpus=str(write_text(folder / "text.txt")),
        tokens=6 * LENGTH,
        sequence_length=LENGTH,
        shard_sequences=2,
        top_fraction=0.1,
        ablations=("resample", "zero"),
    )


def test_any_executor_measures_the_same_shards(spec: RunSpec, tmp_path: Path) -> None:
    found = {}
    for name, execute in (("here", in_this_process), ("elsewhere", elsewhere)):
        folder = RunFolder(Warehouse(tmp_path / name), spec.run_id)
        start(folder, prepare(spec))
        work = measured_by(execute, folder)
        facts = folder.warehouse.root / "facts"
        shards = {str(path.relative_to(facts)) for path in facts.rglob("*.parquet")}
        found[name] = (shards, work)  # the same bytes have the same names
    shards, work = found["here"]
    assert found["elsewhere"] == found["here"]
    assert len(shards) == 3 * len({shard.split("/")[0] for shard in shards})
    assert work["clean run"] == 6 * (LENGTH - 1)
    assert work["head ablations"] == 2 * 12 * 6 * (LENGTH - 1)
