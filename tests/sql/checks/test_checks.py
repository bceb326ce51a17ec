"""Every check: it holds for right facts, and names the row where one number is wrong."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from selfrepair.warehouse import layers_together
from selfrepair.warehouse.errors import WarehouseError
from selfrepair.warehouse.facts.checks import run_checks
from selfrepair.warehouse.facts.run_table import RunTable
from selfrepair.warehouse.paths import Warehouse
from selfrepair.warehouse.sql_files import relations
from tests.helpers.runs.small_run import altered, run_row, write_run

SEQUENTIAL = run_row()
POST_NORM = run_row(post_norm=True)
PARALLEL = run_row(parallel_attention=True, n_layers=3, layer_precision=["fp32"] * 3)


def alter(
    warehouse: Warehouse, table: str, change: Callable[[dict[str, Any]], None], shard: int = 0
) -> None:
    """Rewrites one shard of a table with `change` applied to its columns."""
    of_run = RunTable(warehouse, table, "toy")
    altered(of_run, of_run.shards()[shard], change)


def broken(warehouse: Warehouse, row: dict[str, Any]) -> dict[str, Any]:
    """The checks that do not hold, each with its first offending row."""
    return {
        result.name: result.rows[0] for result in run_checks(warehouse, row) if not result.passed
    }


@pytest.mark.parametrize(
    "row", [SEQUENTIAL, POST_NORM, PARALLEL], ids=["sequential", "post-norm", "parallel"]
)
def test_all_checks_hold_for_right_facts(warehouse: Warehouse, row: dict[str, Any]) -> None:
    write_run(warehouse, row)
    results = run_checks(warehouse, row)
    assert [result.name for result in results] == [
        found.name for found in relations() if found.kind == "check"
    ]
    assert [(result.name, result.rows[0]) for result in results if not result.passed] == []


def test_the_numbers_of_the_tests_use_every_part(warehouse: Warehouse) -> None:
    """The checks above would also hold for zeros; these facts are none."""
    path = write_run(warehouse, PARALLEL)["head_ablations"][0]
    for name in ("self_repair_from_heads", "self_repair_from_mlps", "logit_change"):
        values = pq.read_table(path)[name].to_numpy()
        assert np.abs(values).max() > 0.05, name


def test_heads_that_were_not_asked_for_need_no_rows(warehouse: Warehouse) -> None:
    row = run_row(heads=["L0H1", "L1H0"])
    write_run(warehouse, row)
    found = broken(warehouse, row)
    assert list(found) == ["row_counts"]  # all four heads were written

    def keep_two(columns: dict[str, Any]) -> None:
        kept = columns["layer"] + columns["head"] == 1
        columns.update({name: values[kept] for name, values in columns.items()})

    alter(warehouse, "head_ablations", keep_two, 0)
    alter(warehouse, "head_ablations", keep_two, 1)
    assert broken(warehouse, row) == {}


def one(column: str, value: Any, row: int = 13) -> Callable[[dict[str, Any]], None]:
    """A change of one value; row 13 of head_ablations is resample L0H1, sequence 1, position 1."""

    def change(columns: dict[str, Any]) -> None:
        assert columns[column][row] != value
        columns[column][row] = value

    return change


def add(by: float, column: str, row: int | slice = 13) -> Callable[[dict[str, Any]], None]:
    """A change of a value by so much; row -1 is of the last layer."""

    def change(columns: dict[str, Any]) -> None:
        columns[column][row] += by

    return change


ROW_13 = {"ablation": "resample", "layer": 0, "head": 1, "sequence": 1, "position": 1}


@pytest.mark.parametrize(
    "column",
    [
        *("logit_change", "ln_scale_ablated", "direct_effect_ablated", "self_repair_from_mlps"),
        "self_repair_from_post_norm",
    ],
)
def test_one_altered_value_breaks_the_identity_and_is_named(
    warehouse: Warehouse, column: str
) -> None:
    write_run(warehouse, POST_NORM)
    alter(warehouse, "head_ablations", add(0.01, column))
    found = broken(warehouse, POST_NORM)
    assert list(found) == ["decomposition_identity"]
    named = found["decomposition_identity"]
    assert {name: named[name] for name in ROW_13} == ROW_13
    assert abs(named["difference"]) > 1e-3


def test_a_model_without_post_norm_has_no_such_part(warehouse: Warehouse) -> None:
    write_run(warehouse, SEQUENTIAL)
    # From one part to another: the sum stays.
    alter(warehouse, "head_ablations", add(0.01, "self_repair_from_post_norm"))
    alter(warehouse, "head_ablations", add(-0.01, "self_repair_from_heads"))
    found = broken(warehouse, SEQUENTIAL)
    assert list(found) == ["downstream_parts"]
    assert {name: found["downstream_parts"][name] for name in ROW_13} == ROW_13


@pytest.mark.parametrize(
    ("table", "change", "check", "where"),
    [
        # The clean pass's direct effect differs from the ablation pass's.
        ("direct_effects", one("direct_effect", 9.0), "clean_values_agree", ROW_13),
        ("head_ablations", one("ln_scale", 9.0), "clean_values_agree", ROW_13),
        ("head_ablations", one("ln_scale", np.inf), "finite_values", ROW_13),
        ("head_ablations", one("self_repair_from_last_mlp", np.nan), "finite_values", ROW_13),
        (
            "mlp_effects",
            one("direct_effect", np.inf, 3),
            "finite_values",
            {"relation": "mlp_effects"},
        ),
        ("tokens", one("ln_scale", -1.0, 3), "finite_values", {"sequence": 0, "position": 3}),
        ("tokens", one("token", 7, 4), "tokens_in_range", {"sequence": 1, "position": 0}),
        ("tokens", one("target", -1, 3), "tokens_in_range", {"sequence": 0, "position": 3}),
        ("tokens", one("target", 6, 1), "target_is_next_token", {"sequence": 0, "position": 1}),
        ("tokens", one("target_text", "?", 1), "target_is_next_token", {"sequence": 0}),
        ("tokens", one("position", 4, 3), "tokens_in_range", {"position": 4}),
        ("sequences", one("resample_partner", 0, 0), "partners_pair_up", {"sequence": 0}),
        ("sequences", one("resample_partner", 0, 1), "partners_pair_up", {"n_times_a_partner": 2}),
        # Twice the same position, and another missing: the number of rows stays right.
        (
            "head_ablations",
            one("position", 2, 13),
            "row_counts",
            {"relation": "head_ablations", "ablation": "resample", "layer": 0, "head": 1},
        ),
        ("mlp_effects", one("layer", 1, 0), "row_counts", {"relation": "mlp_effects", "layer": 0}),
        ("direct_effects", one("head", 5, 0), "row_counts", {"relation": "direct_effects"}),
        ("sequences", one("sequence", 1, 0), "row_counts", {"relation": "sequences"}),
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
    alter(warehouse, table, change)
    for rows_at_once in (layers_together.ROWS_AT_ONCE, 1):
        monkeypatch.setattr(layers_together, "ROWS_AT_ONCE", rows_at_once)
        (result,) = run_checks(warehouse, SEQUENTIAL, only=[check])
        assert not result.passed
        assert any(where.items() <= row.items() for row in result.rows), result.rows


@pytest.mark.parametrize("column", ["self_repair_from_heads", "self_repair_from_mlps"])
def test_a_parallel_last_layer_must_have_no_repair_at_all(
    warehouse: Warehouse, column: str
) -> None:
    write_run(warehouse, PARALLEL)
    alter(warehouse, "head_ablations", add(1e-6, column, -1))
    found = broken(warehouse, PARALLEL)
    assert set(found) == {"parallel_last_layer", "downstream_parts"}
    assert found["parallel_last_layer"]["layer"] == 2


def test_equation_3_must_hold_in_a_parallel_last_layer(warehouse: Warehouse) -> None:
    write_run(warehouse, PARALLEL)
    alter(warehouse, "head_ablations", add(0.01, "logit_change", -1))
    assert set(broken(warehouse, PARALLEL)) == {"parallel_last_layer", "decomposition_identity"}


@pytest.mark.parametrize("row", [SEQUENTIAL, PARALLEL], ids=["sequential", "parallel"])
def test_the_last_mlps_part_must_fit_in(warehouse: Warehouse, row: dict[str, Any]) -> None:
    """Of a sequential model, the last layer's own MLP is the only one."""
    write_run(warehouse, row)
    alter(warehouse, "head_ablations", add(0.01, "self_repair_from_last_mlp", -1))
    assert set(broken(warehouse, row)) == {"downstream_parts"}


def test_large_logits_may_miss_by_what_float32_cannot_hold(warehouse: Warehouse) -> None:
    """Massive activations: terms of 1e5 logits are stored to a hundredth; 1 logit is an error."""
    row = run_row(n_layers=1, n_heads=1, layer_precision=["fp32"], ablations=["zero"])
    write_run(warehouse, row, shard=3)

    alter(warehouse, "head_ablations", add(1e5, "direct_effect_ablated", 0))
    alter(warehouse, "head_ablations", add(-1e5, "self_repair_from_mlps", 0))
    assert "decomposition_identity" not in broken(warehouse, row)
    alter(warehouse, "head_ablations", add(-1, "self_repair_from_mlps", 0))
    assert "decomposition_identity" in broken(warehouse, row)


def test_all_offenders_are_counted_and_twenty_are_shown(warehouse: Warehouse) -> None:
    write_run(warehouse, SEQUENTIAL, shard=3)
    alter(warehouse, "head_ablations", add(1, "logit_change", slice(None)))
    (result,) = run_checks(warehouse, SEQUENTIAL, only=["decomposition_identity"])
    assert result.n_offending == 2 * 2 * 2 * 12
    assert len(result.rows) == 20


def test_the_runs_own_row_is_checked(warehouse: Warehouse) -> None:
    write_run(warehouse, SEQUENTIAL)
    assert set(broken(warehouse, SEQUENTIAL | {"n_tokens": 11})) == {
        "run_fits_its_facts",
        "row_counts",
    }
    assert set(broken(warehouse, SEQUENTIAL | {"layer_precision": ["fp32"]})) == {
        "run_fits_its_facts"
    }


def test_a_run_that_is_not_measured_to_the_end_is_an_error(warehouse: Warehouse) -> None:
    write_run(warehouse, SEQUENTIAL)
    (warehouse.facts("tokens", "toy") / "manifest.json").unlink()
    with pytest.raises(WarehouseError, match=r"toy is not measured to the end \(tokens"):
        run_checks(warehouse, SEQUENTIAL)
