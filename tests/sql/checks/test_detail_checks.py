"""The checks of the details: they hold for right ones, and name the row where one is wrong."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from selfrepair.warehouse import layers_together
from selfrepair.warehouse.facts.checks import run_checks
from selfrepair.warehouse.facts.run_table import RunTable
from selfrepair.warehouse.paths import Warehouse
from tests.helpers.runs.detail_facts import write_details
from tests.helpers.runs.small_run import altered, run_row, write_run

SEQUENTIAL = run_row(n_sequences=6)
PARALLEL = run_row(n_sequences=6, parallel_attention=True, n_layers=3, layer_precision=["fp32"] * 3)
CHECKS = [
    "component_sums",
    "finite_details",
    "kept_rows",
    "neuron_sums",
    "neurons_and_bias",
    "reinforcement_rows",
]


def alter(warehouse: Warehouse, table: str, change: Callable[[dict[str, Any]], None]) -> None:
    """Rewrites a table's shard with `change` applied to its columns."""
    of_run = RunTable(warehouse, table, "toy")
    (shard,) = of_run.shards()
    altered(of_run, shard, change)


@pytest.mark.parametrize("row", [SEQUENTIAL, PARALLEL], ids=["sequential", "parallel"])
def test_all_checks_hold_for_right_details(warehouse: Warehouse, row: dict[str, Any]) -> None:
    write_run(warehouse, row)
    write_details(warehouse, row, [(0, 1), (1, 0)])
    results = run_checks(warehouse, row)
    assert [(result.name, result.rows[0]) for result in results if not result.passed] == []
    assert set(CHECKS) <= {result.name for result in results}


def test_a_run_without_details_holds_them_too(warehouse: Warehouse) -> None:
    write_run(warehouse, SEQUENTIAL)
    assert all(result.passed for result in run_checks(warehouse, SEQUENTIAL, only=CHECKS))


def one(column: str, index: int, by: float) -> Callable[[dict[str, Any]], None]:
    """A change of one item of row 3's list, or of row 3's number."""

    def change(columns: dict[str, Any]) -> None:
        if isinstance(columns[column], list):
            columns[column][3][index] += by
        else:
            columns[column][3] += by

    return change


def drop_the_last(columns: dict[str, Any]) -> None:
    columns.update({name: values[:-1] for name, values in columns.items()})


def shorten(column: str) -> Callable[[dict[str, Any]], None]:
    def change(columns: dict[str, Any]) -> None:
        columns[column][3] = columns[column][3][:-1]

    return change


@pytest.mark.parametrize(
    ("table", "change", "check", "where"),
    [
        ("component_changes", one("head_changes", 0, 0.01), "component_sums", {"layer": 0}),
        ("component_changes", one("mlp_changes", 1, 0.01), "component_sums", {"layer": 0}),
        ("component_changes", shorten("mlp_changes"), "component_sums", {"n_mlps_listed": 1}),
        ("component_changes", one("head_changes", 0, np.nan), "finite_details", {"layer": 0}),
        (
            "component_changes",
            drop_the_last,
            "kept_rows",
            {"relation": "component_changes", "n_expected": 6, "n_found": 5},
        ),
        ("neuron_repairs", one("net_change", 0, 0.01), "neuron_sums", {"complete": True}),
        ("neuron_repairs", shorten("cumulative_share"), "neuron_sums", {"complete": False}),
        ("neuron_repairs", one("neurons", 0, 32), "finite_details", {"relation": "neuron_repairs"}),
        (
            "neuron_repairs",
            drop_the_last,
            "kept_rows",
            {"relation": "neuron_repairs", "n_found": 5},
        ),
        (
            "neuron_changes",
            one("direct_effects_ablated", 7, 0.01),
            "neuron_sums",
            {"relation": "neuron_changes, direct_effect", "complete": True},
        ),
        ("neuron_changes", one("direct_effects", 7, 0.01), "neurons_and_bias", {"layer": 0}),
        (
            "neuron_changes",
            drop_the_last,
            "kept_rows",
            {"relation": "neuron_changes, mlp_repair", "n_expected": 6, "n_found": 5},
        ),
        ("self_reinforcement", drop_the_last, "reinforcement_rows", {"layer": 1, "scale": 5.0}),
        (
            "self_reinforcement",
            one("direct_effect", 0, 0.01),
            "reinforcement_rows",
            {"layer": 0, "head": 0, "scale": 1.0, "sequence": 0, "position": 3},
        ),
        (
            "self_reinforcement",
            one("ln_scale_after", 0, -9.0),
            "finite_details",
            {"relation": "self_reinforcement", "position": 3},
        ),
    ],
)
def test_each_rule_finds_its_offender(
    warehouse: Warehouse,
    table: str,
    change: Callable[[dict[str, Any]], None],
    check: str,
    where: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Asked of all layers together, as of so few rows, and of one layer after the other."""
    write_run(warehouse, SEQUENTIAL)
    write_details(warehouse, SEQUENTIAL)
    alter(warehouse, table, change)
    for rows_at_once in (layers_together.ROWS_AT_ONCE, 1):
        monkeypatch.setattr(layers_together, "ROWS_AT_ONCE", rows_at_once)
        (result,) = run_checks(warehouse, SEQUENTIAL, only=[check])
        assert not result.passed
        assert any(where.items() <= row.items() for row in result.rows), result.rows


def test_one_position_for_another_is_found(warehouse: Warehouse) -> None:
    """The number of rows stays right; the positions are not those of the top rows."""
    write_run(warehouse, SEQUENTIAL)
    write_details(warehouse, SEQUENTIAL)

    def change(columns: dict[str, Any]) -> None:
        head = (columns["layer"] == 0) & (columns["head"] == 0) & (columns["ablation"] == "zero")
        taken = set(zip(columns["sequence"][head], columns["position"][head], strict=True))
        row = int(np.flatnonzero(head)[0])
        free = [(s, p) for s in range(6) for p in range(4) if (s, p) not in taken]
        columns["sequence"][row], columns["position"][row] = free[0]

    alter(warehouse, "neuron_repairs", change)
    (result,) = run_checks(warehouse, SEQUENTIAL, only=["kept_rows"])
    assert [(row["ablation"], row["layer"], row["head"]) for row in result.rows] == [("zero", 0, 0)]
