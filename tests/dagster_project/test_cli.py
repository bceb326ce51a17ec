"""The `selfrepair` command: its help, and what each command shows."""

import json
import os
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from selfrepair.dagster_project.cli.command import command_of
from selfrepair.dagster_project.cli.main import cli
from selfrepair.warehouse.paths import Warehouse
from selfrepair.warehouse.published.read import current_generation, open_serving
from selfrepair_assets.measurement.model.weights import weights_sha256
from selfrepair_assets.measurement.run_spec import OPTIONS, RunSpec
from tests.helpers.runs.asset_runs import LENGTH
from tests.helpers.runs.cli_runs import Said, python, refused, small

COMMANDS = ("run", "status", "publish", "delete", "doctor")
HEAVY = {"torch", "transformers", "transformer_lens", "dagster", "datasets", "pandas", "streamlit"}
"""Each takes a second or more to import."""
IMPORTED = """
import sys
from selfrepair.dagster_project.cli.main import _run
assert _run() == 0 or sys.argv[1] == "doctor"  # which finds a run half done
print("imported", *sys.modules)
"""


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


@pytest.mark.parametrize(
    ("words", "says", "needs"),
    [
        ("--help", "Commands", set()),
        ("status", "half done: ", set()),
        ("status", "generation 1", set()),
        ("doctor", "cpu", {"torch"}),
    ],
)
def test_what_only_looks_starts_at_once(
    words: str, says: str, needs: set[str], gpt2_warehouse: Path, tmp_path: Path
) -> None:
    root = gpt2_warehouse if says == "generation 1" else tmp_path
    if root is tmp_path:
        shutil.copytree(gpt2_warehouse / "runs", root / "runs")
        shutil.copytree(gpt2_warehouse / "dagster", root / "dagster")
    environment = os.environ | {"SELFREPAIR_WAREHOUSE": str(root)}
    said, imported = python(IMPORTED, words, env=environment).split("imported ")
    assert says in said
    assert HEAVY & set(imported.split()) == needs


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
    where = ("--warehouse", tmp_path / "none")
    code, out, err = selfrepair("doctor", gpt2_folder / "gpt2", *small(), *where)
    assert code == 0, out + err
    assert "A run has what it needs" in out
    assert not (tmp_path / "none").exists()
    for line in (
        "way: the fast engine: GPT2LMHeadModel, 3 layers",
        "time: about",
        "disk of the run",
    ):
        assert line in out
    code, out, _ = selfrepair("doctor", tmp_path / "no-model", "--warehouse", tmp_path / "none")
    assert code == 1
    assert "problem(s)" in out


def test_doctor_takes_the_options_of_a_run(
    gpt2_folder: Path, tmp_path: Path, selfrepair: Callable[..., Said]
) -> None:
    def disk_of(*options: str) -> float:
        where = ("--warehouse", tmp_path / "none")
        _, out, _ = selfrepair("doctor", gpt2_folder / "gpt2", *where, *options)
        [(value, unit)] = re.findall(r"disk of the run: ([\d.,]+) ([GM])B at most", out)
        return float(value.replace(",", "")) * (1000 if unit == "G" else 1)

    ten = disk_of("--tokens", "10000000", "--sequence-length", "32")
    assert 2.5 < disk_of("--tokens", "30000000", "--sequence-length", "32") / ten < 3.1
    refused(selfrepair("doctor", gpt2_folder / "gpt2", "--tokens", "1"))
    line = refused(selfrepair("doctor", "--tokens", "4096"))
    assert "Name the MODEL" in line


def test_settings_are_kept_as_asked(gpt2_warehouse: Path, gpt2_folder: Path) -> None:
    [plan] = (gpt2_warehouse / "runs").glob("*/run.json")
    about = json.loads(plan.read_text())["about"]
    assert about["model"]["weights_sha256"] == weights_sha256(gpt2_folder / "gpt2")
    stored = about["spec"]
    assert stored["model"] == str(gpt2_folder / "gpt2")
    assert stored["tokens"] == 8 * LENGTH
    assert stored["top_fraction"] == 0.1
    with open_serving(Warehouse(gpt2_warehouse)) as connection:
        [(options,)] = connection.execute("select options from runs").fetchall()
    assert options == RunSpec.from_json(stored).as_typed()
    assert set(options) == set(OPTIONS)
    assert options["top_fraction"] == "0.1"


def test_the_command_has_every_option_with_its_help_and_default() -> None:
    command = cli.commands["run"]
    by_name = {found.name: found for found in command.params}
    assert set(by_name) == {*OPTIONS, "restart", "root", "workers", "ray_address", "facts"}
    assert {found.name for found in cli.commands["doctor"].params} == {*OPTIONS, "repair", "root"}
    for name, option in OPTIONS.items():
        shown = by_name[name]
        if isinstance(shown, click.Option):
            assert shown.opts == [option.flag]
            assert shown.help == option.explained
    context = command.make_context("run", ["some-model"])
    choices = {name: context.params[name] for name in OPTIONS}
    assert RunSpec(**choices) == RunSpec("some-model")


@pytest.mark.parametrize(
    "choices",
    [
        {"revision": "v2", "layers": "1:3", "batch_size": 7, "shard_sequences": 2},
        {"ablations": ("zero", "mean"), "reinforcement_scales": (1.0, 2.5), "seed": -3},
        {"center_unembed": False, "top_fraction": 0.015, "neuron_heads": "L1H1"},
        {"text_column": "a text", "corpus": "./it's.txt", "precision": "bf16"},
    ],
)
def test_what_tells_a_user_the_command_is_the_command(choices: dict[str, Any]) -> None:
    spec = RunSpec("some-model", **choices)
    words = shlex.split(command_of(spec))
    assert words[:2] == ["selfrepair", "run"]
    given = cli.commands["run"].make_context("run", words[2:]).params
    assert RunSpec(**{name: given[name] for name in OPTIONS}) == spec
    assert RunSpec.from_json(json.loads(json.dumps(spec.as_json()))) == spec
