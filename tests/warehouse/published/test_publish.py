"""Publishing: what is in a generation, and what publishing again, otherwise, or deleting does."""

import shutil
from pathlib import Path

import duckdb
import numpy as np
import pytest

from selfrepair.warehouse import layers_together
from selfrepair.warehouse.connection import Connection
from selfrepair.warehouse.errors import WarehouseError
from selfrepair.warehouse.facts.run_table import RunTable
from selfrepair.warehouse.facts.tables import fact_tables
from selfrepair.warehouse.paths import Warehouse
from selfrepair.warehouse.published import stored_results
from selfrepair.warehouse.published.publish import delete, publish
from selfrepair.warehouse.published.read import current_generation, open_serving
from selfrepair.warehouse.published.runs import published_runs
from selfrepair.warehouse.sql_files import Relation, relations
from tests.helpers.runs.detail_facts import write_details
from tests.helpers.runs.small_publishing import BY_LAYER, assert_same_rows, contents, measured
from tests.helpers.runs.small_run import FINGERPRINT, NEEDED, planned


def test_a_published_run_holds_its_shards_rows_in_order(warehouse: Warehouse, sql: Path) -> None:
    row = measured(warehouse)
    steps: list[tuple[float, str]] = []
    made = publish(warehouse, row, source=sql, progress=lambda *step: steps.append(step))
    assert made.number == current_generation(warehouse) == 1
    assert made.rows == {
        "direct_effects": 48,
        "head_ablations": 96,
        "mlp_effects": 24,
        "sequences": 3,
        "tokens": 12,
    }
    fractions = [fraction for fraction, _ in steps]
    assert fractions == sorted(fractions)
    assert steps[-1] == (1.0, "published")
    with open_serving(warehouse) as connection:
        for table in NEEDED:
            folder = warehouse.facts(table, "toy")
            shards = connection.execute(
                f"select 'toy' as run_id, * from read_parquet('{folder}/*.parquet',"
                " hive_partitioning = false) order by all"
            ).fetchall()
            stored = connection.execute(f"from {table}").fetchall()
            assert stored == shards, table  # no order by: they lie sorted in the file
        assert (
            connection.execute("from layers_of('toy')").fetchall()
            == connection.execute("from by_layer").fetchall()
        )
        assert connection.execute("select versions, ablations from runs").fetchall() == [
            ({"torch": "2.13.0"}, ["resample", "zero"])
        ]
        undocumented = connection.execute(
            "select table_name, column_name from duckdb_columns()"
            " where not internal and comment is null"
        ).fetchall()
        assert undocumented == []


def test_the_stable_name_is_all_that_a_reader_needs(warehouse: Warehouse, sql: Path) -> None:
    publish(warehouse, measured(warehouse), source=sql)
    assert str(warehouse.serving.readlink()) == "generations/selfrepair-000001.duckdb"
    copied = warehouse.root / "for_a_colleague.duckdb"
    shutil.copy(warehouse.serving, copied)
    with duckdb.connect(str(copied), read_only=True) as connection:
        tables = {row[0] for row in connection.execute("show tables").fetchall()}
        assert tables >= {*fact_tables(), "runs", "generation", "self_repair", "by_layer"}
        ((tags,),) = connection.execute(
            "select tags from duckdb_databases() where database_name = 'for_a_colleague'"
        ).fetchall()
        assert tags["storage_version"].startswith("v1.5.0")


def test_the_projects_own_relations_publish(warehouse: Warehouse) -> None:
    publish(warehouse, measured(warehouse))
    publish(warehouse, measured(warehouse, "b", seed=1, parallel_attention=True))
    with open_serving(warehouse) as connection:
        assert connection.execute(
            "select run_id, layer, n_heads from layer_summary where ablation = 'zero' order by all"
        ).fetchall() == [("b", 0, 2), ("b", 1, 2), ("toy", 0, 2), ("toy", 1, 2)]


def test_a_stored_result_that_needs_more_memory_gets_it(
    warehouse: Warehouse, sql: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run as large as the paper's, and a machine that has the memory."""
    fill, given = stored_results.fill, list[str]()

    def too_large_at_first(
        connection: Connection, found: Relation, run_id: str, table: str
    ) -> None:
        fill(connection, found, run_id, table)  # what it wrote until it failed is written again
        row = connection.execute("select current_setting('memory_limit')").fetchone()
        given.append(row[0] if row else "")
        if len(given) == 1:
            raise duckdb.OutOfMemoryException("failed to allocate data of size 16.0 MiB")

    monkeypatch.setattr(stored_results, "fill", too_large_at_first)
    publish(warehouse, measured(warehouse, "a"), source=sql)
    assert given[:2] == ["512.0 MiB", "1.0 GiB"]
    monkeypatch.undo()
    anew = Warehouse(warehouse.root.with_name("anew")).prepare()
    publish(anew, measured(anew, "a"), source=sql)
    stored = [found.name for found in relations(sql) if found.kind == "stored"]
    with open_serving(warehouse) as one, open_serving(anew) as other:
        assert_same_rows(other, one, stored, 1e-12, 1e-12)


def test_many_rows_are_taken_some_layers_or_heads_at_a_time(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All at once where there are few; one layer, or one head of it, where one has many."""
    row = measured(warehouse, n_layers=4, n_sequences=12, top_fraction=0.2)
    write_details(warehouse, row, [(layer, 1) for layer in range(3)])
    publish(warehouse, row)
    stored = [found for found in relations() if found.kind == "stored"]
    by_layers = [found.name for found in stored if "first_layer" in found.parameters]
    by_heads = [found.name for found in stored if "first_head" in found.parameters]
    assert len(by_layers) == 18
    assert by_heads == [
        "component_repair_means",
        "neuron_rank_means",
        "cluster_totals",
        "head_noise",
    ]
    rows_of_head = row["n_tokens"] * len(row["ablations"])
    for rows_at_once in (1, row["n_heads"] * rows_of_head):
        monkeypatch.setattr(layers_together, "ROWS_AT_ONCE", rows_at_once)
        anew = Warehouse(warehouse.root.with_name(f"anew {rows_at_once}"))
        for folder in ("facts", "runs"):
            shutil.copytree(warehouse.root / folder, anew.root / folder)
        publish(anew, row)
        with open_serving(warehouse) as one, open_serving(anew) as other:
            for name in by_layers:  # the same addends in another order differ in a last digit
                assert assert_same_rows(other, one, [name], 1e-9, 1e-7), name


def test_publishing_again_gives_the_same_rows(warehouse: Warehouse, sql: Path) -> None:
    row = measured(warehouse)
    publish(warehouse, row, source=sql)
    publish(warehouse, measured(warehouse, "other", seed=7), source=sql)
    before = contents(warehouse)
    publish(warehouse, row, source=sql)
    assert contents(warehouse) == before
    assert current_generation(warehouse) == 3
    kept = sorted(path.name for path in warehouse.generations.iterdir())
    assert kept == [
        f"selfrepair-00000{number}.duckdb{suffix}"
        for number in (2, 3)
        for suffix in ("", ".sha256")
    ]


def test_a_reader_keeps_the_generation_that_it_opened(warehouse: Warehouse, sql: Path) -> None:
    publish(warehouse, measured(warehouse), source=sql)
    reader = open_serving(warehouse)
    for seed in (1, 2, 3):
        publish(warehouse, measured(warehouse, f"run {seed}", seed=seed), source=sql)
    assert not warehouse.generation(1).exists()
    assert reader.execute("select run_id from runs").fetchall() == [("toy",)]
    assert reader.execute("select count(*) from head_ablations").fetchall() == [(96,)]
    reader.close()
    assert published_runs(warehouse) == ["run 1", "run 2", "run 3", "toy"]


def add_details(warehouse: Warehouse, run_id: str) -> None:
    """A table that a run may have or not: here with two rows."""
    columns = {
        "ablation": np.array("zero"),
        "layer": np.array(0),
        "head": np.array([0, 1]),
        "sequence": np.array(0),
        "position": np.array(0),
        "head_changes": [[0.5], [0.25, 1.0]],
        "mlp_changes": [[1.5], []],
    }
    path = RunTable(warehouse, "component_changes", run_id).write(0, 5, columns, FINGERPRINT)
    planned(RunTable(warehouse, "component_changes", run_id), FINGERPRINT, [path])


def test_details_are_published_for_the_runs_that_have_them(warehouse: Warehouse, sql: Path) -> None:
    row = measured(warehouse)
    assert "component_changes" not in publish(warehouse, row, source=sql).rows
    add_details(warehouse, "toy")
    assert publish(warehouse, row, source=sql).rows["component_changes"] == 2
    with open_serving(warehouse) as connection:
        assert connection.execute("select head_changes from component_changes").fetchall() == [
            ([0.5],),
            ([0.25, 1.0],),
        ]


def test_dropped_shards_stay_published_and_cannot_be_published_again(
    warehouse: Warehouse, sql: Path
) -> None:
    row = measured(warehouse)
    publish(warehouse, row, keep_shards=False, source=sql)
    before = contents(warehouse)
    assert list(warehouse.facts("head_ablations", "toy").glob("*.parquet")) == []
    manifest = RunTable(warehouse, "head_ablations", "toy").manifest()
    assert manifest is not None
    assert manifest["dropped"] is True
    again = "the shards of toy were dropped after it was published: measure it again"
    with pytest.raises(WarehouseError, match=again):
        publish(warehouse, row, source=sql)
    other = measured(warehouse, "other")
    publish(warehouse, other, source=sql)
    delete(warehouse, "other", source=sql)
    assert contents(warehouse) == before


def test_other_definitions_carry_the_older_runs_over(warehouse: Warehouse, sql: Path) -> None:
    """A newer project: a column more in `tokens`, one less in `runs`, another stored result."""
    publish(warehouse, measured(warehouse, "old"), keep_shards=False, source=sql)
    before = contents(warehouse)
    tokens, runs = sql / "tables" / "tokens.sql", sql / "tables" / "runs.sql"
    tokens.write_text(tokens.read_text().replace("\n);", ",\n    newer float\n);"))
    runs.write_text(runs.read_text().replace("    device varchar not null,\n", ""))
    stored = sql / "stored" / "by_layer.sql"
    stored.write_text(BY_LAYER.replace("as self_repair\n", "+ 100 as self_repair\n"))
    toml = (sql / "columns.toml").read_text()
    (sql / "columns.toml").write_text('newer = "a newer column"\n' + toml)

    row = measured(warehouse)  # its shards lack the new column too
    del row["device"]
    with open_serving(warehouse):  # is in nobody's way
        publish(warehouse, row, source=sql)
    after = contents(warehouse)
    assert [r for r in after["head_ablations"] if r[0] == "old"] == before["head_ablations"]
    assert [r for r in after["tokens"] if r[0] == "old"] == [(*r, None) for r in before["tokens"]]
    assert {r[-1] for r in after["tokens"]} == {None}
    assert len(after["runs"][0]) == len(before["runs"][0]) - 1
    assert [round(r[2] - 100, 4) for r in after["by_layer"] if r[0] == "old"] == [
        r[2] for r in before["by_layer"]
    ]


def test_delete_takes_the_run_and_its_facts_and_no_other(warehouse: Warehouse, sql: Path) -> None:
    publish(warehouse, measured(warehouse, "a/b@main", seed=4), source=sql)
    before = contents(warehouse)
    publish(warehouse, measured(warehouse), source=sql)
    made = delete(warehouse, "toy", source=sql)
    assert made is not None
    assert made.number == 3
    assert contents(warehouse) == before
    assert not warehouse.run_folder("toy").exists()
    assert {path.name for path in warehouse.root.glob("facts/*/*")} == {"run=a%2Fb%40main"}

    measured(warehouse, "half done")
    assert delete(warehouse, "half done", source=sql) is None
    assert {path.name for path in warehouse.root.glob("facts/*/*")} == {"run=a%2Fb%40main"}
    with pytest.raises(WarehouseError, match=r"no run toy in .*; published: a/b@main"):
        delete(warehouse, "toy", source=sql)
