"""The seam between a step and who measures its shards: any executor measures the same."""

import pickle
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from selfrepair_assets.measurement.engine.measure import Progress
from selfrepair_assets.measurement.errors import EngineMismatchError
from selfrepair_assets.steps import head_ablations
from selfrepair_assets.steps.sharded.run_folder import RunFolder
from selfrepair_assets.steps.sharded.shards import Shard, planned_tables
from selfrepair_assets.steps.sharded.step import Step, in_this_process
from tests.helpers.runs.asset_runs import LENGTH, small_spec
from tests.helpers.runs.step_runs import measured_anew


def elsewhere(
    step: Step, folder: RunFolder, shards: Sequence[Shard], progress: Progress
) -> Iterator[Shard]:
    """As other processes do: each shard from what a pickle holds, and the last one first."""
    for shard in reversed(shards):
        there, folder_there = pickle.loads(pickle.dumps((step, folder)))
        assert there.measure(folder_there, shard, progress)
        yield shard


def test_any_executor_measures_the_same_shards(gpt2: Path, tmp_path: Path) -> None:
    ablations = ("resample", "zero")
    spec = small_spec(gpt2, tokens=6 * LENGTH, shard_sequences=2, ablations=ablations)
    shards, work = measured_anew(in_this_process, tmp_path / "here", spec)
    assert measured_anew(elsewhere, tmp_path / "elsewhere", spec) == (shards, work)
    assert len(shards) == 3 * len({shard.split("/")[1] for shard in shards})
    assert work["clean run"] == 6 * (LENGTH - 1)
    assert work["head ablations"] == 2 * 12 * 6 * (LENGTH - 1)


def test_what_disagrees_with_the_clean_run_is_not_stored_and_is_measured_again(
    gpt2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A one-off fault of a machine costs a shard and a command, and no number."""
    stored = head_ablations._stored_clean_values

    def off(folder: RunFolder, shard: Shard) -> tuple[np.ndarray, np.ndarray]:
        effects, ln_scale = stored(folder, shard)
        return effects + np.float32(0.01), ln_scale

    def faulty_at_first(
        step: Step, folder: RunFolder, shards: Sequence[Shard], progress: Progress
    ) -> Iterator[Shard]:
        if step is head_ablations.HEAD_ABLATIONS:
            with monkeypatch.context() as patched:
                patched.setattr(head_ablations, "_stored_clean_values", off)
                with pytest.raises(EngineMismatchError, match="same command measures them again"):
                    step.measure(folder, shards[0], lambda _: None)
            assert step.missing(folder) == shards
        yield from in_this_process(step, folder, shards, progress)

    spec = small_spec(gpt2, tokens=4 * LENGTH, shard_sequences=2)
    undisturbed = measured_anew(in_this_process, tmp_path / "a", spec)
    assert measured_anew(faulty_at_first, tmp_path / "b", spec) == undisturbed


@pytest.mark.parametrize(("device_type", "size"), [("cpu", 13), ("cuda", 218), ("mps", 13)])
def test_a_gpus_shards_are_larger(gpt2: Path, device_type: str, size: int) -> None:
    """Of GPT-2 small, 144 heads at 127 positions."""
    spec = small_spec(gpt2, tokens=10_000 * 128, sequence_length=128, ablations=("resample",))
    shards = planned_tables(spec, 144, device_type)["head_ablations"]
    assert shards[:3] == [(0, size // 2), (size // 2, size), (size, 2 * size)]
    assert shards[-1][1] == 10_000
    few = small_spec(gpt2, tokens=16 * 128, sequence_length=128)
    cuts = planned_tables(few, 144, device_type)["head_ablations"]
    assert cuts == [(0, 1), (1, 2), *((start, start + 2) for start in range(2, 16, 2))]
