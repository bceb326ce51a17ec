"""A run that is not measured to the end is published with the sequences that are there."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from selfrepair.warehouse.errors import WarehouseError
from selfrepair.warehouse.facts.checks import run_checks
from selfrepair.warehouse.facts.run_table import RunTable
from selfrepair.warehouse.paths import Warehouse
from selfrepair.warehouse.published import outside
from selfrepair.warehouse.published.publish import publish, publish_anew
from selfrepair.warehouse.published.read import open_serving
from tests.helpers.runs.detail_facts import write_details
from tests.helpers.runs.small_publishing import contents
from tests.helpers.runs.small_run import altered, run_row, write_run

PART, POSITIONS = 4, 8
WHOLE: dict[str, Any] = {"n_sequences": 6, "sequence_length": POSITIONS + 1, "top_fraction": 0.25}


def row_of(part: int = 6) -> dict[str, Any]:
    return run_row(**WHOLE, n_sequences_measured=part)


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    """A run of six sequences in shards of two, with the details of its top rows."""
    return written(Warehouse(tmp_path / "w").prepare())


def written(warehouse: Warehouse) -> Warehouse:
    write_run(warehouse, row_of())
    write_details(warehouse, row_of(), shard=2)
    return warehouse


def half_measured(warehouse: Warehouse) -> Warehouse:
    """As before the last shard of the heads is measured, and any closer look."""
    for table in ("head_ablations", "component_changes", "neuron_repairs"):
        of_run = RunTable(warehouse, table, "toy")
        of_run.withdraw([of_run.shards()[-1]])
    for table in ("neuron_changes", "self_reinforcement"):
        of_run = RunTable(warehouse, table, "toy")
        of_run.withdraw(of_run.shards())
    return warehouse


def test_every_relation_answers_and_means_are_those_of_its_own_rows(warehouse: Warehouse) -> None:
    half_measured(warehouse)
    assert [found.name for found in run_checks(warehouse, row_of(PART)) if not found.passed] == []
    made = publish(warehouse, row_of(PART))
    assert (made.rows["sequences"], made.rows["tokens"]) == (PART, PART * POSITIONS)
    assert "neuron_changes" not in made.rows
    rows = contents(warehouse)  # of all relations
    assert len(rows["head_summary"]) == len(rows["run_clusters"]) * 2 * 2 * 2
    shards = RunTable(warehouse, "head_ablations", "toy", PART).files()
    facts = {
        name: np.concatenate([pq.read_table(path)[name].to_numpy() for path in shards])
        for name in pq.read_schema(shards[0]).names
    }
    with open_serving(warehouse) as connection:
        of_run = connection.execute("select n_sequences, n_sequences_measured, n_tokens from runs")
        assert of_run.fetchall() == [(6, PART, PART * POSITIONS)]
        found = connection.execute(
            "select ablation, layer, head, n_rows, self_repair, direct_effect from head_summary"
        ).fetchall()
        details = connection.execute(
            """
            select max(sequence), count(*)
            from component_changes
            where ablation = 'zero' and layer = 0 and head = 0
            """
        ).fetchone()
        counted = connection.execute(
            """
            select any_value(n_rows)
            from component_repairs
            where ablation = 'zero' and layer = 0 and head = 0
            """
        ).fetchone()
    for ablation, layer, head, n_rows, self_repair, direct_effect in found:
        own = (facts["ablation"] == ablation) & (facts["layer"] == layer) & (facts["head"] == head)
        effect = facts["direct_effect"][own].astype("f8")
        change = facts["logit_change"][own] - (facts["direct_effect_ablated"][own] - effect)
        top = np.argsort(-effect, kind="stable")[: PART * POSITIONS // 4]
        assert n_rows == len(top)
        assert direct_effect == pytest.approx(effect[top].mean(), abs=1e-6)
        assert self_repair == pytest.approx(change[top].mean(), abs=1e-6)
    assert details is not None
    assert counted is not None
    assert details[0] < PART
    assert counted[0] == details[1], "a view over details counts the rows that have them"


@pytest.mark.parametrize("most_inside", [outside.RUN_INSIDE_AT_MOST, 0])
def test_the_whole_run_takes_its_place(
    warehouse: Warehouse, sql: Path, most_inside: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outside, "RUN_INSIDE_AT_MOST", most_inside)
    monkeypatch.setattr(outside, "TABLE_INSIDE_AT_MOST", most_inside)
    publish(warehouse, row_of(2), source=sql)
    publish(warehouse, row_of(PART), source=sql)
    write_run(warehouse, run_row("other", seed=1))
    publish(warehouse, run_row("other", seed=1), source=sql)
    with open_serving(warehouse) as connection:
        rows = connection.execute(
            "select run_id, count(distinct sequence) from head_ablations group by all order by 1"
        ).fetchall()
    assert rows == [("other", 3), ("toy", PART)]
    publish(warehouse, row_of(), source=sql)
    undisturbed = written(Warehouse(warehouse.root.parent / "undisturbed").prepare())
    write_run(undisturbed, run_row("other", seed=1))
    publish(undisturbed, row_of(), source=sql)
    publish(undisturbed, run_row("other", seed=1), source=sql)
    assert contents(warehouse) == contents(undisturbed)


def test_a_lost_file_is_built_anew_with_the_part_that_it_had(
    warehouse: Warehouse, sql: Path
) -> None:
    half_measured(warehouse)
    publish(warehouse, row_of(PART), source=sql)
    before = contents(warehouse)
    warehouse.serving.resolve().unlink()
    publish_anew(warehouse, source=sql)
    assert contents(warehouse) == before


def test_a_part_needs_its_shards(warehouse: Warehouse, sql: Path) -> None:
    with pytest.raises(WarehouseError, match="not measured to the end: its shards are needed"):
        publish(warehouse, row_of(PART), keep_shards=False, source=sql)
    RunTable(warehouse, "tokens", "toy").shards()[1].unlink()
    with pytest.raises(WarehouseError, match="sequences 2 to 3 of tokens are"):
        publish(warehouse, row_of(PART), source=sql)
    assert publish(warehouse, row_of(2), source=sql).rows["tokens"] == 2 * POSITIONS


def test_details_that_are_not_at_a_heads_first_rows_fail_the_check(warehouse: Warehouse) -> None:
    of_run = RunTable(warehouse, "component_changes", "toy")

    def move(columns: dict[str, Any]) -> None:
        columns["position"][0] = (columns["position"][0] + 1) % POSITIONS

    altered(of_run, of_run.files()[0], move)
    (result,) = run_checks(warehouse, row_of(PART), only=["kept_rows"])
    assert [row["relation"] for row in result.rows] == ["component_changes"]
