"""`selfrepair doctor --repair` lists what is damaged, and mends what needs no measuring."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from selfrepair.warehouse.paths import Warehouse
from selfrepair.warehouse.published.publish import publish
from selfrepair.warehouse.published.repair import set_aside_before, troubles
from selfrepair.warehouse.published.runs import published_runs
from tests.faults.compared import difference, tables
from tests.faults.faults import harmed, leftovers
from tests.helpers.runs.cli_runs import Said, snapshot
from tests.helpers.runs.small_publishing import measured


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("whole") / "data"
    warehouse = Warehouse(root).prepare()
    publish(warehouse, measured(warehouse, "a"))
    publish(warehouse, measured(warehouse, "b", seed=3))
    return root


@pytest.fixture
def warehouse(whole: Path, tmp_path: Path) -> Warehouse:
    shutil.copytree(whole, tmp_path / "data", symlinks=True)
    return Warehouse(tmp_path / "data")


def test_nothing_is_wrong_with_a_whole_warehouse(warehouse: Warehouse, tmp_path: Path) -> None:
    before = snapshot(warehouse.root)
    assert list(troubles(warehouse)) == []
    assert list(troubles(Warehouse(tmp_path / "none"))) == []
    assert snapshot(warehouse.root) == before


def test_a_damaged_shard_is_set_aside_and_its_run_named(warehouse: Warehouse) -> None:
    shard = next(warehouse.facts("head_ablations", "a").glob("*.parquet"))
    harmed(shard, "bit flip")
    [trouble] = list(troubles(warehouse))
    assert trouble.what.startswith("a: 1 damaged and 0 missing shard(s): sequences-00000")
    assert trouble.run_id == "a"
    assert shard.exists()  # looking changes nothing
    assert trouble.mend is not None
    trouble.mend()
    assert not shard.exists()
    [aside] = set_aside_before(warehouse)
    assert aside.name.startswith(shard.name)
    assert published_runs(warehouse) == ["a", "b"]


@pytest.mark.parametrize("harm", ["bit flip", "emptied", "removed", "a folder in its place"])
def test_the_published_file_is_built_anew(warehouse: Warehouse, harm: str) -> None:
    before = tables(warehouse.root)
    harmed(warehouse.generation(2), harm)
    [trouble] = list(troubles(warehouse))
    assert "the published file is" in trouble.what
    assert trouble.run_id is None
    assert trouble.mend is not None
    trouble.mend()
    assert list(troubles(warehouse)) == []
    assert difference(tables(warehouse.root), before) == ""


@pytest.mark.parametrize("harm", ["emptied", "removed"])
def test_a_manifest_is_written_anew(warehouse: Warehouse, harm: str) -> None:
    path = warehouse.facts("tokens", "b") / "manifest.json"
    before = path.read_bytes()
    harmed(path, harm)
    [trouble] = list(troubles(warehouse))
    assert trouble.mend is not None
    trouble.mend()
    assert path.read_bytes() == before
    assert list(troubles(warehouse)) == []


def test_what_killed_processes_left_is_removed(warehouse: Warehouse) -> None:
    before = snapshot(warehouse.root)
    leftovers(warehouse.root, random.Random(0))
    found = list(troubles(warehouse))
    assert len(found) == 4  # two runs or one, the generations, what was spilled
    for trouble in found:
        assert trouble.mend is not None
        trouble.mend()
    assert list(troubles(warehouse)) == []
    after = snapshot(warehouse.root)
    assert {name: what for name, what in after.items() if not name.endswith(".lock")} == {
        name: what for name, what in before.items() if not name.endswith(".lock")
    }


def test_a_plan_that_is_lost_needs_its_command(warehouse: Warehouse) -> None:
    (warehouse.run_folder("a") / "run.json").write_text("{}")
    [trouble] = list(troubles(warehouse))
    assert "run.json is damaged" in trouble.what
    assert "the `selfrepair run` command that began the run" in trouble.way_out
    assert trouble.mend is None


def test_a_garbled_note_of_where_the_facts_lie_is_named(
    warehouse: Warehouse, selfrepair: Callable[..., Said]
) -> None:
    (warehouse.root / "facts.json").write_text('{"address": "s3://a/b"')
    [trouble] = list(troubles(warehouse))
    assert "facts.json is damaged" in trouble.what
    assert "with --facts" in trouble.way_out
    assert trouble.mend is None  # the address is known to whoever chose it
    for command, code, answer in (("status", 0, "a"), ("doctor", 1, "facts.json is damaged")):
        said = selfrepair(command, "--warehouse", warehouse.root)
        assert said[0] == code, said
        assert answer in said[1]


def test_the_command(
    gpt2_warehouse: Path, gpt2_folder: Path, tmp_path: Path, selfrepair: Callable[..., Said]
) -> None:
    root, model = tmp_path / "data", str(gpt2_folder / "gpt2")
    shutil.copytree(gpt2_warehouse, root, symlinks=True)
    code, out, _ = selfrepair("doctor", "--warehouse", root)
    assert code == 0, out
    assert "all that was written is as it was written" in out
    shard = next((root / "facts" / "head_ablations").rglob("*.parquet"))
    harmed(shard, "bit flip")
    harmed(root / "generations" / "selfrepair-000001.duckdb", "bit flip")
    before = snapshot(root / "facts")
    code, out, _ = selfrepair("doctor", "--warehouse", root)
    assert code == 1
    assert "selfrepair doctor --repair" in out
    assert snapshot(root / "facts") == before
    code, out, _ = selfrepair("doctor", "--repair", "--warehouse", root)
    assert code == 1  # a run must measure a shard again
    again = f"to be measured again: selfrepair run {model} --corpus {gpt2_folder / 'text.txt'}"
    assert again in out
    assert "--tokens 128 --sequence-length 16 --top-fraction 0.1" in out
    assert "damaged file(s) are set aside" in out
    code, out, _ = selfrepair("status", "--warehouse", root)
    assert code == 0
    words = next(line for line in out.splitlines() if "Go on with" in line or model in line)
    assert model in words
    command = again.partition("selfrepair ")[2] + " --tokens 128 --sequence-length 16"
    code, _, err = selfrepair(*command.split(), "--top-fraction", "0.1", "--warehouse", root)
    assert code == 0, err
    code, out, _ = selfrepair("doctor", "--warehouse", root)
    assert code == 0, out
