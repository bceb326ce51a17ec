"""A published file or a manifest that is damaged, lost or in the way is built anew."""

import logging
import shutil
from pathlib import Path

import duckdb
import pytest

from selfrepair.warehouse.errors import WarehouseError
from selfrepair.warehouse.facts.plan import keep_published_row, published_row
from selfrepair.warehouse.paths import Warehouse
from selfrepair.warehouse.published.generations import checksum_file, current
from selfrepair.warehouse.published.publish import delete, publish, publish_anew
from selfrepair.warehouse.published.read import current_generation, open_serving
from selfrepair.warehouse.published.runs import known_runs, published_runs
from tests.faults.faults import HARMS, harmed
from tests.helpers.runs.small_publishing import contents, measured


@pytest.fixture
def warehouse(tmp_path: Path, sql: Path) -> Warehouse:
    """With two published runs."""
    warehouse = Warehouse(tmp_path / "data").prepare()
    publish(warehouse, measured(warehouse, "a"), source=sql)
    publish(warehouse, measured(warehouse, "b", seed=3), source=sql)
    return warehouse


def damage(file: Path, how: str) -> None:
    if how in HARMS:
        harmed(file, how)
        return
    with duckdb.connect(str(file)) as connection:
        connection.execute("update runs set model = 'mine'")


@pytest.mark.parametrize("how", [*HARMS, "changed by another program"])
def test_a_damaged_published_file_is_built_anew_from_the_shards(
    warehouse: Warehouse, sql: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    before, generation = contents(warehouse), warehouse.generation(2)
    damage(generation, how)
    there = generation.exists()
    row = measured(warehouse, "a")
    with caplog.at_level(logging.WARNING):
        publish(warehouse, row, source=sql)
    assert contents(warehouse) == before
    [told] = [record.getMessage() for record in caplog.records]
    assert "it is built anew from the shards" in told
    aside = list(warehouse.generations.glob("selfrepair-000002.duckdb.damaged-*"))
    assert len(aside) == int(there)
    assert current_generation(warehouse) == 3
    publish(warehouse, row, source=sql)
    assert contents(warehouse) == before


@pytest.mark.parametrize("how", ["emptied", "bit flip", "removed"])
def test_it_can_be_built_anew_without_publishing_a_run(
    warehouse: Warehouse, sql: Path, how: str
) -> None:
    before = contents(warehouse)
    harmed(warehouse.generation(2), how)
    assert known_runs(warehouse) == ["a", "b"]
    publish_anew(warehouse, source=sql)
    assert contents(warehouse) == before


def test_a_lost_stable_name_leads_again_to_what_was_published(
    warehouse: Warehouse, sql: Path
) -> None:
    """Also for runs whose shards were dropped: the generation is still there."""
    publish(warehouse, measured(warehouse, "a"), keep_shards=False, source=sql)
    before = contents(warehouse)
    warehouse.serving.unlink()
    publish(warehouse, measured(warehouse, "b", seed=3), source=sql)
    assert contents(warehouse) == before


def test_without_its_checksum_a_file_is_read_row_by_row(warehouse: Warehouse, sql: Path) -> None:
    """As one that an older version published: its blocks' own checksums tell."""
    publish(warehouse, measured(warehouse, "a"), keep_shards=False, source=sql)
    before = contents(warehouse)
    for how in ("removed", "emptied", "a folder in its place"):
        harmed(checksum_file(current(warehouse) or Path()), how)
        publish(warehouse, measured(warehouse, "b", seed=3), source=sql)
        assert contents(warehouse) == before
        assert checksum_file(current(warehouse) or Path()).is_file()


def test_a_checksum_is_what_sha256sum_reads(warehouse: Warehouse) -> None:
    import subprocess

    file = checksum_file(warehouse.generation(2))
    subprocess.run(["sha256sum", "--check", file.name], cwd=file.parent, check=True)


def test_a_run_without_shards_is_read_out_of_the_damaged_file(
    warehouse: Warehouse, sql: Path, caplog: pytest.LogCaptureFixture
) -> None:
    publish(warehouse, measured(warehouse, "a"), keep_shards=False, source=sql)
    before = contents(warehouse)
    damage(warehouse.generation(3), "changed by another program")
    publish(warehouse, measured(warehouse, "b", seed=3), source=sql)
    after = contents(warehouse)
    assert {name: rows for name, rows in after.items() if name != "runs"} == {
        name: rows for name, rows in before.items() if name != "runs"
    }
    harmed(warehouse.generation(4), "emptied")
    with caplog.at_level(logging.WARNING):
        publish(warehouse, measured(warehouse, "b", seed=3), source=sql)
    assert "without a, whose shards are gone" in caplog.records[-1].getMessage()
    assert published_runs(warehouse) == ["b"]
    [aside] = warehouse.generations.glob("selfrepair-000004.duckdb.damaged-*")
    assert aside.read_bytes() == b""


def test_a_run_whose_shards_are_damaged_is_not_taken_from_them(
    warehouse: Warehouse, sql: Path
) -> None:
    harmed(warehouse.generation(2), "emptied")
    harmed(next(warehouse.facts("head_ablations", "b").glob("*.parquet")), "bit flip")
    publish(warehouse, measured(warehouse, "a"), source=sql)
    assert published_runs(warehouse) == ["a"]


def test_a_run_can_be_deleted_out_of_a_damaged_file(warehouse: Warehouse, sql: Path) -> None:
    harmed(warehouse.generation(2), "cut off")
    delete(warehouse, "b", source=sql)
    assert published_runs(warehouse) == ["a"]


@pytest.mark.parametrize("name", ["selfrepair-000003.building", "selfrepair-000003.building.wal"])
def test_a_folder_where_a_generation_is_built_is_removed(
    warehouse: Warehouse, sql: Path, name: str
) -> None:
    before = contents(warehouse)
    (warehouse.generations / name).mkdir()
    (warehouse.generations / name / "something").write_text("")
    publish(warehouse, measured(warehouse, "a"), source=sql)
    assert contents(warehouse) == before


def test_a_folder_where_the_next_generation_goes_is_set_aside(
    warehouse: Warehouse, sql: Path
) -> None:
    before = contents(warehouse)
    warehouse.generation(3).mkdir()
    publish(warehouse, measured(warehouse, "a"), source=sql)
    assert contents(warehouse) == before
    assert current_generation(warehouse) == 4


@pytest.mark.parametrize("how", ["removed", "emptied", "garbled"])
def test_a_lost_manifest_is_written_anew_and_says_so(
    warehouse: Warehouse, sql: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = contents(warehouse)
    manifest = warehouse.facts("tokens", "a") / "manifest.json"
    text = manifest.read_bytes()
    row = measured(warehouse, "a")
    harmed(manifest, how)
    with caplog.at_level(logging.WARNING):
        publish(warehouse, row, source=sql)
    [told] = [record.getMessage() for record in caplog.records]
    assert "it is written anew from the shards" in told
    assert manifest.read_bytes() == text
    assert contents(warehouse) == before


def test_what_else_lies_in_the_warehouse_is_left_alone(warehouse: Warehouse, sql: Path) -> None:
    """Only what was left by writers who are gone goes."""
    mine = [warehouse.root / "notes.txt", warehouse.generations / "my copy.duckdb"]
    for path in mine:
        path.write_text("somebody's")
    harmed(warehouse.generation(2), "emptied")
    publish_anew(warehouse, source=sql)
    assert [path.read_text() for path in mine] == ["somebody's"] * 2
    with pytest.raises(WarehouseError, match="there is no run c"):
        delete(warehouse, "c", source=sql)
    shutil.rmtree(warehouse.root / "facts")
    harmed(current(warehouse) or Path(), "emptied")
    publish_anew(warehouse, source=sql)
    assert published_runs(warehouse) == []


def test_a_run_of_an_older_version_has_no_value_in_a_newer_column(
    warehouse: Warehouse, sql: Path
) -> None:
    row = published_row(warehouse, "a")
    assert row is not None
    del row["options"]
    keep_published_row(warehouse, row)
    served = current(warehouse)
    assert served is not None
    served.unlink()
    publish_anew(warehouse, source=sql)
    with open_serving(warehouse) as connection:
        rows = connection.execute("select run_id, options is null from runs").fetchall()
    assert sorted(rows) == [("a", True), ("b", False)]
