"""What is measured of a run is published while it is measured, and ends as if it had not been."""

from pathlib import Path

import dagster as dg
import pytest

from selfrepair.dagster_project.cli.status import publish_runs
from selfrepair.warehouse.errors import WarehouseError
from selfrepair.warehouse.paths import Warehouse
from selfrepair.warehouse.published.read import open_serving
from selfrepair_assets.assets.parts import told_of_parts
from selfrepair_assets.steps import parts
from selfrepair_assets.steps.head_ablations import HEAD_ABLATIONS, keep_top_rows
from selfrepair_assets.steps.sharded.run_folder import RunFolder
from tests.helpers.runs.asset_runs import FACTS, materialize, measured, same

N = 12
BEFORE = ["run_spec", "sequences", "tokens", "direct_effects", "mlp_effects"]


def published_of(root: Path) -> list[tuple[int, int]]:
    with open_serving(Warehouse(root)) as connection:
        return connection.execute(
            "select n_sequences_measured, count(distinct sequence) from runs"
            " join head_ablations using (run_id) group by all"
        ).fetchall()


def test_parts_are_published_by_hand_and_on_the_way(
    gpt2: Path, tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "LEAST_LEFT", 0.0)
    monkeypatch.setattr(parts, "MOST_OF_RUN", 1e9)
    asked = list[tuple[float, float]]()

    def part_that_is_due(folder: RunFolder, done: float, seconds: float, left: float) -> int | None:
        asked.append((done, left))
        return parts.part_that_is_due(folder, done, seconds, left)

    monkeypatch.setattr("selfrepair_assets.assets.parts.part_that_is_due", part_that_is_due)
    root, seen = tmp_path / "a", list[list[tuple[int, int]]]()
    folder = RunFolder(Warehouse(root), str(gpt2))
    assert materialize(root, gpt2, instance, only=BEFORE, shard_sequences=1).success
    with pytest.raises(WarehouseError, match="not measured to the end"):
        publish_runs(folder.warehouse, folder.run_id, keep_shards=True)
    keep_top_rows(folder)
    for shard in (*folder.shards[:4], folder.shards[7]):  # as workers may leave them
        HEAD_ABLATIONS.measure(folder, shard, lambda _: None)
    publish_runs(folder.warehouse, folder.run_id, keep_shards=True)
    assert published_of(root) == [(4, 4)]
    with pytest.raises(WarehouseError, match="first 4 sequences are measured"):
        publish_runs(folder.warehouse, folder.run_id, keep_shards=True)
    with told_of_parts(lambda told: seen.append(published_of(told.warehouse.root))):
        assert materialize(root, gpt2, instance, shard_sequences=1).success
    assert seen == [[(6, 6)]]  # a half; with four, more than a quarter was there
    assert asked[-1][0] == 1.0
    assert asked[-1][1] > 0, "self-reinforcement is still to come, and is left"
    assert published_of(root) == [(N, N)]
    monkeypatch.setattr(parts, "LEAST_LEFT", 1e9)
    undisturbed = tmp_path / "b"
    assert materialize(undisturbed, gpt2, instance, only=FACTS, shard_sequences=1).success
    for table, columns in measured(undisturbed, gpt2).items():
        found = measured(root, gpt2)[table]
        for name, expected in columns.items():
            same(found[name], expected, f"{table}.{name}")


def test_a_part_is_due_where_it_is_worth_its_time(
    gpt2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder(Warehouse(tmp_path), str(gpt2))
    folder.__dict__["spec"] = type("Spec", (), {"n_sequences": 16})()
    n, published = 4, (0, 0)
    monkeypatch.setattr(parts, "measured_part", lambda _: n)
    monkeypatch.setattr(parts, "published_sequences", lambda _: published)

    def due(left: float) -> int | None:
        return parts.part_that_is_due(folder, n / 16, 0.0, left)

    assert due(121) == 4
    assert due(119) is None
    n = 1
    assert due(121) is None
    n = 4
    folder.note(parts.SPENT, {"seconds": 10.0, "last": 10.0})
    assert due(150) is None  # 20 seconds of 160 would be more than a tenth
    assert due(250) == 4
    published = (4, 16)
    assert due(250) is None
    n = 7
    assert due(250) is None  # the next one is a half
    n = 8
    assert due(250) == 8
    published = (16, 16)
    assert due(250) is None  # of an earlier run of that name, which stays until this one is whole


def test_the_first_parts_of_a_long_run_are_early(
    gpt2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before an eighth: from four sequences on, where an eighth, a quarter and a half follow."""
    folder = RunFolder(Warehouse(tmp_path), str(gpt2))
    folder.__dict__["spec"] = type("Spec", (), {"n_sequences": 256})()
    published = 0
    monkeypatch.setattr(parts, "published_sequences", lambda _: (published, 256))

    def due(n: int, left: float) -> int | None:
        monkeypatch.setattr(parts, "measured_part", lambda _: n)
        return parts.part_that_is_due(folder, n / 256, 0.0, left)

    assert [due(n, 201) for n in range(6)] == [None] * 4 + [4, 5]
    assert due(4, 199) is None, "four publishings of five seconds are more than a tenth"
    seen = []
    for n in range(0, 256, 2):
        if due(n, 1000) == n:
            published = n
            seen.append(n)
            folder.note(parts.SPENT, {"seconds": 18.0 * len(seen), "last": 18.0})
    assert seen == [4, 8, 32, 64, 128], "with a sixteenth, no time would be left for the half"
