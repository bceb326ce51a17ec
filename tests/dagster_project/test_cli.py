"""The `selfrepair` command: its help, and what each command shows."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from selfrepair.warehouse.paths import Warehouse
from selfrepair.warehouse.published.read import current_generation
from selfrepair_assets.measurement.model.weights import weights_sha256
from tests.helpers.runs.asset_runs import LENGTH
from tests.helpers.runs.cli_runs import Said, refused

COMMANDS = ("run", "status", "publish", "delete", "doctor")


def test_help_of_every_command(selfrepair: Callable[..., Said]) -> None:
    code, out, _ = selfrepair("--help")
    assert code == 0
    for command in COMMANDS:
        assert f"\n  {command} " in out
        code, help_text, err = selfrepair(command, "--help")
        assert code == 0, err
        assert "--warehouse DIR" in help_text
    _, help_text, _ = selfrepair("run", "--help")
    for option in (
        *("--revision", "--corpus NAME|PATH", "--tokens", "--sequence-length", "--ablations"),
        *("--layers", "--heads", "--precision", "--device", "--batch-size", "--seed"),
        *("--top-fraction", "--restart"),
    ):
        assert option in help_text
    assert max(map(len, help_text.splitlines())) <= 100
    assert selfrepair("--version")[0] == 0


def test_status_publish_delete(
    gpt2_warehouse: Path, gpt2_folder: Path, tmp_path: Path, selfrepair: Callable[..., Said]
) -> None:
    code, out, _ = selfrepair("status", "--warehouse", tmp_path / "none")
    assert code == 0
    assert "Nothing is published" in out
    assert not (tmp_path / "none").exists()
    root, model = tmp_path / "copy", str(gpt2_folder / "gpt2")
    shutil.copytree(gpt2_warehouse, root, symlinks=True)
    code, out, _ = selfrepair("status", "--warehouse", root)
    assert code == 0
    assert model in out
    assert "half done" not in out
    code, out, err = selfrepair("publish", model, "--warehouse", root)
    assert code == 0, err
    assert "published as generation 2" in out
    [shard, *_] = (root / "facts" / "head_ablations").rglob("*.parquet")
    shard.unlink()
    code, out, err = selfrepair("publish", "--warehouse", root)
    assert code == 0
    assert "not measured to the end" in err
    assert current_generation(Warehouse(root)) == 2
    assert "is gone" in refused(selfrepair("publish", model, "--warehouse", root))
    assert "measures it again" in refused(selfrepair("publish", model, "--warehouse", root))
    code, out, _ = selfrepair("delete", model, "--yes", "--warehouse", root)
    assert code == 0
    assert "is removed" in out
    assert not list((root / "facts").rglob("*.parquet"))
    assert not list((root / "runs").iterdir())
    code, out, _ = selfrepair("status", "--warehouse", root)
    assert model not in out
    for command in (("delete", model, "--yes"), ("publish", model), ("publish",), ("publish", "")):
        refused(selfrepair(*command, "--warehouse", root))


def test_a_half_done_run_is_shown(
    gpt2_warehouse: Path, gpt2_folder: Path, tmp_path: Path, selfrepair: Callable[..., Said]
) -> None:
    root = tmp_path / "half"
    shutil.copytree(gpt2_warehouse / "runs", root / "runs")
    code, out, _ = selfrepair("status", "--warehouse", root)
    assert code == 0
    assert f"half done: {gpt2_folder / 'gpt2'}, 0 of 8 shards" in out


def test_doctor(gpt2_folder: Path, tmp_path: Path, selfrepair: Callable[..., Said]) -> None:
    code, out, err = selfrepair("doctor", gpt2_folder / "gpt2", "--warehouse", tmp_path / "none")
    assert code == 0, out + err
    assert "A run has what it needs" in out
    assert not (tmp_path / "none").exists()
    code, out, _ = selfrepair("doctor", tmp_path / "no-model", "--warehouse", tmp_path / "none")
    assert code == 1
    assert "problem(s)" in out


def test_settings_are_kept_as_asked(gpt2_warehouse: Path, gpt2_folder: Path) -> None:
    [plan] = (gpt2_warehouse / "runs").glob("*/run.json")
    about = json.loads(plan.read_text())["about"]
    assert about["model"]["weights_sha256"] == weights_sha256(gpt2_folder / "gpt2")
    stored = about["spec"]
    assert stored["model"] == str(gpt2_folder / "gpt2")
    assert stored["tokens"] == 8 * LENGTH
    assert stored["top_fraction"] == 0.1
