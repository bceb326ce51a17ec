"""Bad input gets one clear line and exit code 2, and leaves the warehouse as it was."""

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from selfrepair.warehouse.paths import Warehouse
from selfrepair.warehouse.published.read import open_serving
from selfrepair_assets.measurement.engine import measure
from selfrepair_assets.measurement.forecast import forecast
from selfrepair_assets.steps import run_spec as run_spec_step
from tests.helpers.models import fake_hub
from tests.helpers.models.families import save
from tests.helpers.runs.cli_runs import (
    Said,
    denied,
    installed,
    mounted,
    refused,
    small,
    snapshot,
)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_no_cuda(gpt2_folder: Path, tmp_path: Path, selfrepair: Callable[..., Said]) -> None:
    base = ["--corpus", gpt2_folder / "text.txt", *small(), "--warehouse", tmp_path / "data"]
    assert "CUDA" in refused(selfrepair("run", gpt2_folder / "gpt2", *base, "--device", "cuda"))
    assert not (tmp_path / "data").exists()


def test_an_engine_that_disagrees_with_the_model_measures_nothing(
    gpt2_folder: Path,
    tmp_path: Path,
    selfrepair: Callable[..., Said],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(measure, "LOGIT_TOLERANCE", -1.0)
    base = ["--corpus", gpt2_folder / "text.txt", *small(), "--warehouse", tmp_path / "data"]
    code, _, err = selfrepair("run", gpt2_folder / "gpt2", *base)
    assert code == 2
    [line] = [line for line in err.splitlines() if line.startswith("error: ")]
    assert "Nothing was measured" in line
    assert "Traceback" not in err
    assert not list((tmp_path / "data").rglob("*.parquet"))


def test_a_failed_check_is_one_line_with_rows_and_file(
    gpt2_folder: Path,
    tmp_path: Path,
    selfrepair: Callable[..., Said],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from selfrepair_assets.steps import head_ablations

    right = head_ablations._fact_rows

    def wrong(*arguments: Any) -> dict[str, Any]:
        columns = dict(right(*arguments))
        if columns["layer"] == 1:
            columns["logit_change"] = columns["logit_change"] + 0.5
        return columns

    monkeypatch.setattr(head_ablations, "_fact_rows", wrong)
    base = ["--corpus", gpt2_folder / "text.txt", *small(), "--warehouse", tmp_path / "data"]
    code, _, err = selfrepair("run", gpt2_folder / "gpt2", *base)
    assert code == 2
    assert "Traceback" not in err
    line = err.splitlines()[-1]
    assert "is not published: 1 check(s) fail, first decomposition_identity, at " in line
    assert re.search(r"layer 1, head \d, sequence \d+, position \d+", line)
    [file] = re.findall(r"\(in (\S+\.parquet)\)", line)
    assert Path(file).is_file()
    assert "--restart" in line
    assert "Nothing is published" in selfrepair("status", "--warehouse", tmp_path / "data")[1]
    monkeypatch.undo()
    monkeypatch.setattr("sys.argv", [])
    code, _, err = selfrepair("run", gpt2_folder / "gpt2", *base, "--restart")
    assert code == 0, err


def test_a_mixture_of_experts_is_published_without_neurons(
    gpt2_folder: Path,
    tmp_path: Path,
    selfrepair: Callable[..., Said],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(forecast, "LEAST_WORK", 0)  # a run of seconds is foretold too
    save("mixtral", tmp_path / "mixtral")
    base = ["--corpus", gpt2_folder / "text.txt", *small(), "--warehouse", tmp_path / "data"]
    code, _, err = selfrepair("run", tmp_path / "mixtral", *base, "--ablations", "resample,mean")
    assert code == 0, err
    assert re.search(r"MixtralForCausalLM is not known to the fast .* about \d+ times as long", err)
    foretold = r"the whole run takes about [\d.]+ (s|min), .*B of memory at most, \d+ MB of disk"
    assert re.search(foretold, err)
    with open_serving(Warehouse(tmp_path / "data")) as connection:
        count = "select count(*) from "
        for table in ("neuron_repairs", "neuron_changes"):
            assert connection.execute(count + table).fetchone() == (0,)
        assert connection.execute(count + "head_ablations").fetchone() == (2 * 12 * 8 * 15,)
        assert connection.execute("select d_mlp, architecture from runs").fetchone() == (
            0,
            "MixtralForCausalLM",
        )
        for (view,) in connection.execute(
            "select view_name from duckdb_views() where not internal"
        ).fetchall():
            connection.execute(f'select * from "{view}" limit 3').fetchall()


def test_unknown_model_and_no_network(tmp_path: Path) -> None:
    """In processes of their own, as the hub's library reads its settings once."""
    with fake_hub.running() as hub:
        cases = {  # nothing listens at port 9
            "has no model": {"HF_ENDPOINT": hub.endpoint},
            "cannot be reached": {"HF_ENDPOINT": "http://127.0.0.1:9"},
            "HF_HUB_OFFLINE": {"HF_HUB_OFFLINE": "1"},
        }
        for expected, environment in cases.items():
            environment |= {"HF_HOME": str(tmp_path / "hub")}
            run = ("run", "nobody/no-such-model", "--warehouse", tmp_path / "data")
            line = refused(installed(*run, env=os.environ | environment))
            assert "nobody/no-such-model" in line
            assert expected in line
            assert not (tmp_path / "data").exists()


def test_other_settings_need_restart(
    gpt2_warehouse: Path, gpt2_folder: Path, selfrepair: Callable[..., Said]
) -> None:
    before = snapshot(gpt2_warehouse)
    base = ["--corpus", gpt2_folder / "text.txt", *small(), "--warehouse", gpt2_warehouse]
    line = refused(selfrepair("run", gpt2_folder / "gpt2", *base, "--seed", "1"))
    assert "--restart" in line
    assert "seed: 0, not 1" in line
    text = (gpt2_folder / "text.txt").read_text()
    try:
        (gpt2_folder / "text.txt").write_text(text[1:])
        line = refused(selfrepair("run", gpt2_folder / "gpt2", *base))
    finally:
        (gpt2_folder / "text.txt").write_text(text)
    assert "another text" in line
    assert "--restart" in line
    assert snapshot(gpt2_warehouse) == before


def test_other_weights_need_restart(
    gpt2_warehouse: Path, gpt2_folder: Path, tmp_path: Path, selfrepair: Callable[..., Said]
) -> None:
    before = snapshot(gpt2_warehouse)
    base = ["--corpus", gpt2_folder / "text.txt", *small(), "--warehouse", gpt2_warehouse]
    weights = gpt2_folder / "gpt2" / "model.safetensors"
    kept = weights.read_bytes()
    try:
        weights.write_bytes((save("gpt2", tmp_path, seed=1) / weights.name).read_bytes())
        line = refused(selfrepair("run", gpt2_folder / "gpt2", *base))
    finally:
        weights.write_bytes(kept)
    assert "the model has other weights now" in line
    assert "--restart" in line
    assert snapshot(gpt2_warehouse) == before


def test_a_warehouse_that_is_a_file(
    gpt2_folder: Path, tmp_path: Path, selfrepair: Callable[..., Said]
) -> None:
    (tmp_path / "data").write_text("mine")
    base = ["--corpus", gpt2_folder / "text.txt", *small()]
    for command in (["run", gpt2_folder / "gpt2", *base], ["status"], ["publish"]):
        for root in (tmp_path / "data", tmp_path / "data" / "below"):
            line = refused(selfrepair(*command, "--warehouse", root))
            assert "file" in line, (command, root)
    assert snapshot(tmp_path) == {"data": hashlib.sha256(b"mine").hexdigest()}


def test_a_read_only_warehouse(
    gpt2_warehouse: Path, gpt2_folder: Path, tmp_path: Path, selfrepair: Callable[..., Said]
) -> None:
    base = ["--corpus", gpt2_folder / "text.txt", *small()]
    with mounted(tmp_path / "disk", "-o", "size=200m") as disk:
        shutil.copytree(gpt2_warehouse, disk / "data", symlinks=True)
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        before = snapshot(disk)
        for root in (disk / "data", disk / "new"):
            line = refused(selfrepair("run", gpt2_folder / "gpt2", *base, "--warehouse", root))
            assert "read-only" in line
        assert selfrepair("status", "--warehouse", disk / "data")[0] == 0
        for command in (["publish"], ["delete", gpt2_folder / "gpt2", "--yes"]):
            assert "read-only" in refused(selfrepair(*command, "--warehouse", disk / "data"))
        assert snapshot(disk) == before


def test_a_warehouse_that_may_not_be_looked_into(
    gpt2_warehouse: Path, gpt2_folder: Path, tmp_path: Path, selfrepair: Callable[..., Said]
) -> None:
    shutil.copytree(gpt2_warehouse, tmp_path / "data", symlinks=True)
    before = snapshot(tmp_path)
    model = gpt2_folder / "gpt2"
    with denied(tmp_path / "data"):
        for command in (["status"], ["publish"], ["publish", model], ["delete", model, "--yes"]):
            line = refused(selfrepair(*command, "--warehouse", tmp_path / "data"))
            assert "permission denied" in line, command
            assert str(tmp_path / "data") in line, command
    assert snapshot(tmp_path) == before


def test_a_full_disk(
    gpt2_warehouse: Path, gpt2_folder: Path, tmp_path: Path, selfrepair: Callable[..., Said]
) -> None:
    base = ["--corpus", gpt2_folder / "text.txt", *small()]
    with mounted(tmp_path / "small disk", "-o", "size=2m") as disk:
        for root in (disk / "data", disk / "new"):
            line = refused(selfrepair("run", gpt2_folder / "gpt2", *base, "--warehouse", root))
            assert "free" in line
        assert snapshot(disk) == {}
    with mounted(tmp_path / "disk", "-o", "size=30m") as disk:
        # Full in the middle of a run: what is served stays, and no half file is left.
        shutil.copytree(gpt2_warehouse, disk / "data", symlinks=True)
        before = snapshot(disk / "data")
        (disk / "filler").write_bytes(bytes(shutil.disk_usage(disk).free - 2**14))
        line = refused(selfrepair("publish", gpt2_folder / "gpt2", "--warehouse", disk / "data"))
        assert "disk is full" in line
        (disk / "filler").unlink()
        left = {k: v for k, v in snapshot(disk / "data").items() if k in before}
        assert {k for k in before if left.get(k) != before[k]} <= {"runs"}
        code, _, err = selfrepair("publish", gpt2_folder / "gpt2", "--warehouse", disk / "data")
        assert code == 0, err


def test_the_disk_fills_up_while_measuring(
    gpt2_folder: Path,
    tmp_path: Path,
    selfrepair: Callable[..., Said],
    monkeypatch: pytest.MonkeyPatch,
) -> None:

    monkeypatch.setattr(run_spec_step, "refuse_full_disk", lambda *_: None)
    base = ["--corpus", gpt2_folder / "text.txt", *small()]
    with mounted(tmp_path / "disk", "-o", "size=1500k") as disk:
        code, _, err = selfrepair("run", gpt2_folder / "gpt2", *base, "--warehouse", disk / "data")
        assert code == 2, err
        assert "Traceback" not in err
        assert err.splitlines()[-1].startswith("error: ")
        assert "full" in err.splitlines()[-1]
        assert not list(disk.rglob("*.tmp-*"))


def test_an_empty_variable_chooses_no_store_and_no_cluster(
    gpt2_folder: Path, tmp_path: Path, selfrepair: Callable[..., Said]
) -> None:
    base = ("run", gpt2_folder / "gpt2", "--corpus", gpt2_folder / "text.txt", *small())
    for empty in (("--facts", ""), ("--ray-address", ""), ("--facts", "s3://"), ("--workers", "0")):
        said = selfrepair(*base, "--warehouse", tmp_path / "data", *empty)
        assert said[0] == 2
        assert "Traceback" not in said[2]
    assert not (tmp_path / "data").exists()
