"""A measured run whose files are lost, changed or left half: what its next start makes of it."""

import shutil
from dataclasses import replace
from pathlib import Path

import dagster as dg
import numpy as np
import pytest

from selfrepair.warehouse.paths import Warehouse
from selfrepair.warehouse.sealed import DamagedError
from selfrepair_assets.measurement.engine.fast_error import LayerPrecision
from selfrepair_assets.measurement.engine.results import KeptRows
from selfrepair_assets.measurement.errors import InputError
from selfrepair_assets.steps import run_spec as run_spec_step
from selfrepair_assets.steps.ablating import ablate
from selfrepair_assets.steps.clean_run import measure_clean_shard
from selfrepair_assets.steps.head_ablations import HEAD_ABLATIONS, measure_ablation_shard
from selfrepair_assets.steps.run_spec import prepare, start
from selfrepair_assets.steps.sharded.run_folder import RunFolder
from selfrepair_assets.steps.sharded.stored_shards import stored_shard
from tests.helpers.runs.asset_runs import FACTS, materialize


@pytest.fixture(scope="module")
def measured_once(
    gpt2: Path, instance: dg.DagsterInstance, tmp_path_factory: pytest.TempPathFactory
) -> RunFolder:
    """A tiny model under all ablations, in four shards; not published."""
    root, ablations = tmp_path_factory.mktemp("measured"), ("resample", "mean", "zero")
    choices = {"ablations": ablations, "shard_sequences": 3}
    assert materialize(root, gpt2, instance, FACTS, **choices).success
    return RunFolder(Warehouse(root), str(gpt2))


@pytest.fixture
def run(measured_once: RunFolder, tmp_path: Path) -> RunFolder:
    """A copy of it, to be harmed."""
    shutil.copytree(measured_once.warehouse.root, tmp_path / "warehouse", symlinks=True)
    return RunFolder(Warehouse(tmp_path / "warehouse"), measured_once.run_id)


def inodes(run: RunFolder) -> dict[Path, int]:
    """Of each shard: another one where it was written again."""
    shards = (run.warehouse.root / "facts").rglob("sequences-*.parquet")
    return {path: path.stat().st_ino for path in shards}


def test_a_lost_plan_is_written_anew_over_its_shards(run: RunFolder) -> None:
    spec, plan = run.spec, run.plan
    there = inodes(run)
    (run.path / "run.json").unlink()
    with pytest.raises(InputError, match="were measured with other settings or another"):
        start(RunFolder(run.warehouse, run.run_id), prepare(replace(spec, seed=1)))
    assert not (run.path / "run.json").exists()
    again = RunFolder(run.warehouse, run.run_id)
    start(again, prepare(spec))
    assert again.plan.tables == plan.tables
    assert again.plan.fingerprint == plan.fingerprint
    assert inodes(run) == there
    assert all(HEAD_ABLATIONS.is_done(again, shard) for shard in again.shards)


def test_weights_that_change_meanwhile_end_the_run(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored_shard(run, "direct_effects", run.shards[0]).unlink()
    loaded = replace(run_spec_step.load(run.spec), weights_sha256="0" * 64)
    monkeypatch.setattr(run_spec_step, "load_model", lambda *_: loaded)
    with pytest.raises(InputError, match="the model has other weights now"):
        measure_clean_shard(run, run.shards[0])
    no_rows, fp32 = KeptRows(*np.zeros((4, 0), dtype=np.int64)), LayerPrecision.fp32(2)
    with pytest.raises(InputError, match="the model has other weights now"):
        ablate(run, np.arange(2), [], ("zero",), no_rows, False, fp32, None)


@pytest.mark.parametrize("harm", [b"", b"{", None])
def test_what_is_known_of_the_text_is_not_guessed(run: RunFolder, harm: bytes | None) -> None:
    known = run.drawn_from, run.document_names
    path = run.path / "text.json"
    path.unlink() if harm is None else path.write_bytes(harm)
    with pytest.raises(DamagedError, match="knows of its text is gone or damaged"):
        _ = run.drawn_from
    start(run, prepare(run.spec))
    assert (run.drawn_from, run.document_names) == known


def test_a_restart_leaves_nothing_of_before(run: RunFolder) -> None:
    start(run, prepare(replace(run.spec, seed=1)), restart=True)
    assert run.spec.seed == 1
    assert run.find("top_rows") is None
    assert run.noted("precision") is None
    assert not list((run.warehouse.root / "facts").rglob("sequences-*.parquet"))


def test_a_kill_between_two_tables_of_a_shard_keeps_the_one_that_is_there(run: RunFolder) -> None:
    [shard] = [shard for shard in run.shards if shard.start == 3]
    gone = {stored_shard(run, table, shard) for table in ("direct_effects", "neuron_repairs")}
    contents = {path: path.read_bytes() for path in gone}
    for path in gone:
        path.unlink()
    there = inodes(run)
    assert measure_clean_shard(run, shard)
    assert measure_ablation_shard(run, shard)
    assert not measure_clean_shard(run, shard)
    assert not measure_ablation_shard(run, shard)
    assert all(path.stat().st_ino == inode for path, inode in there.items()), "written again"
    assert {path: path.read_bytes() for path in gone} == contents
