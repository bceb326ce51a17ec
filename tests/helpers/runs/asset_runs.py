"""Whole runs of tiny models in this process, for the tests of the assets."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import numpy as np

from selfrepair.warehouse.facts.run_facts import measured_tables
from selfrepair.warehouse.facts.run_table import RunTable
from selfrepair.warehouse.facts.shards import SORTED_BY
from selfrepair.warehouse.facts.tables import fact_tables
from selfrepair.warehouse.paths import Warehouse
from selfrepair.warehouse.published.read import open_serving
from selfrepair_assets.assets.materialized import ASSETS, CHECKS
from selfrepair_assets.assets.resources import WarehouseResource, models
from selfrepair_assets.assets.run_spec import launchpad_config
from selfrepair_assets.measurement.run_spec import RunSpec
from tests.helpers.runs.small_run import altered

LENGTH = 16
SEQUENCES = 12
FACTS = [
    *("run_spec", "sequences", "tokens", "direct_effects", "mlp_effects", "head_ablations"),
    *("component_changes", "neuron_repairs", "neuron_changes", "self_reinforcement"),
]
"""What is measured, without the checks and what is published."""


def write_text(path: Path, characters: int = 40_000) -> Path:
    """Words of random letters, the same ones every time."""
    letters = random.Random(0).choices("abcdefghijklmnop qrstuvwxyz", k=characters)
    path.write_text("".join(letters))
    return path


def small_spec(model: Path, **choices: Any) -> RunSpec:
    """A run of a tiny model over the text beside it."""
    defaults: dict[str, Any] = {
        "corpus": str(model.parent / "text.txt"),
        "tokens": SEQUENCES * LENGTH,
        "sequence_length": LENGTH,
        "top_fraction": 0.1,
    }
    return RunSpec(model=str(model), **(defaults | choices))


def materialize(
    root: Path,
    model: Path,
    instance: dg.DagsterInstance,
    only: Sequence[str] | None = None,
    **choices: Any,
) -> dg.ExecuteInProcessResult:
    """Measure, check and publish `model` in the warehouse `root`, as `selfrepair run` does."""
    spec = small_spec(model, **choices)
    asked = (
        {"run_spec": {"config": launchpad_config(spec)}}
        if only is None or "run_spec" in only
        else {}
    )
    instance.add_dynamic_partitions(str(models.name), [spec.run_id])
    return dg.materialize(
        [*ASSETS, *CHECKS],
        selection=None if only is None else dg.AssetSelection.assets(*only).without_checks(),
        partition_key=spec.run_id,
        instance=instance,
        resources={"store": WarehouseResource(root=str(root))},
        run_config={"ops": asked, "loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        raise_on_error=False,
    )


def published(root: Path, *tables: str) -> dict[str, list[tuple[Any, ...]]]:
    """The rows of some published tables (all facts, and `runs`), in order."""
    with open_serving(Warehouse(root)) as connection:
        return {
            table: connection.execute(f"select * from {table} order by all").fetchall()
            for table in tables or (*fact_tables(), "runs")
        }


def measured(root: Path, model: Path) -> dict[str, dict[str, Any]]:
    """The columns of each table of a run that need not be published, ordered by its keys."""
    warehouse, found = Warehouse(root), {}
    with duckdb.connect() as connection:
        for of_run in measured_tables(warehouse, str(model)):
            files = [str(path) for path in of_run.files()]
            columns = connection.execute("describe from read_parquet(?)", [files]).fetchall()
            keys = [name for name, *_ in columns if name in SORTED_BY]
            found[of_run.table] = connection.execute(
                f"select * from read_parquet(?) order by {', '.join(keys)}", [files]
            ).fetchnumpy()
    return found


def materializations(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    """Per asset, what its materialization said of it."""
    return {
        event.asset_key.to_user_string(): event.step_materialization_data.materialization.metadata
        for event in result.all_events
        if event.event_type_value == "ASSET_MATERIALIZATION" and event.asset_key
    }


def same(found: Any, expected: Any, where: str) -> None:
    """Equal, or equal to 1e-5 where they are floats; lists row by row."""
    assert len(found) == len(expected), where
    if expected.dtype == object and len(expected) and not isinstance(expected[0], str):
        assert [len(row) for row in found] == [len(row) for row in expected], where
        found, expected = np.concatenate(found), np.concatenate(expected)
    if expected.dtype.kind == "f":
        worst = np.abs(found - expected).max(initial=0)
        assert worst <= 1e-5, f"{where}: {worst}"
    else:
        assert (found == expected).all(), where


def by_neuron(columns: dict[str, Any]) -> dict[str, Any]:
    """The columns of `neuron_repairs`, each row's neurons in the order of their numbers.

    Stored, they are in the order of their repair, and two that repair alike to the last bits may
    change places in rounding.
    """
    orders = [np.argsort(neurons) for neurons in columns["neurons"]]
    lists = ("neurons", "direct_effects", "direct_effects_ablated")

    def ordered(values: Any) -> Any:
        rows = np.empty(len(values), dtype=object)
        rows[:] = [np.asarray(row)[order] for row, order in zip(values, orders, strict=True)]
        return rows

    return columns | {name: ordered(columns[name]) for name in lists}


def changed(root: Path, model: Path, by: float) -> dict[str, int]:
    """Change one value of one shard as if it had been measured so; returns where."""
    of_run, where = RunTable(Warehouse(root), "head_ablations", str(model)), dict[str, int]()

    def change(columns: dict[str, Any]) -> None:
        row = len(columns["logit_change"]) // 2
        columns["logit_change"][row] += by
        where.update({n: int(columns[n][row]) for n in ("layer", "head", "sequence", "position")})

    altered(of_run, of_run.files()[1], change)
    return where
