"""The details of a made-up run: what its heads' top rows would have, obeying every rule.

Added to the shards that `small_run.write_run` wrote: changes of components that sum to the repair
from heads and MLP layers, neurons that sum to the last MLP layer's direct effect and repair, and
heads that answer to their own output, from self-reinforcing ones to self-repressing ones.
"""

from collections.abc import Sequence
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from selfrepair.warehouse.facts.run_table import RunTable
from selfrepair.warehouse.facts.top_rows import top_rows, top_rows_by_mlp_repair
from selfrepair.warehouse.paths import Warehouse
from selfrepair_assets.measurement.engine.kept_details import curve_counts
from tests.helpers.runs.small_run import FINGERPRINT, planned

Columns = dict[str, Any]
PLACE = ("ablation", "layer", "head", "sequence", "position")
SCALES = (1.0, 3.0, 5.0)
N_MOST = 50
NEGLIGIBLE = np.array([1e-4, 1e-3, 1e-2, 1e-1])

AT_KEPT = """
select kept.*, ablations.* exclude (ablation, layer, head, sequence, position), mlp
from kept
join ablations using (ablation, layer, head, sequence, position)
join last_mlp using (sequence, position)
order by n
"""


def write_details(
    warehouse: Warehouse,
    row: dict[str, Any],
    heads: Sequence[tuple[int, int]] = ((0, 1),),
    shard: int | None = None,
) -> None:
    """Writes all four tables of details, in one shard each or in shards of so many sequences.

    heads: those with all neurons.
    """
    places = top_rows(warehouse, row)
    n, ablations = len(places["layer"]), np.array(row["ablations"], dtype=object)
    kept = {name: np.tile(column, len(ablations)) for name, column in places.items()}
    facts = facts_at(warehouse, row, kept | {"ablation": np.repeat(ablations, n)})
    clean, ablated = neuron_effects(row, facts)
    of_chosen = np.array([h in heads for h in zip(facts["layer"], facts["head"], strict=True)])
    tables = {
        "component_changes": component_changes(row, facts),
        "neuron_repairs": neuron_repairs(row, facts, clean, ablated),
        "self_reinforcement": self_reinforcement(warehouse, row),
    }
    chosen = {name: facts[name][of_chosen] for name in PLACE}
    by_repair = facts_at(warehouse, row, top_rows_by_mlp_repair(warehouse, row, heads))
    more_clean, more_ablated = neuron_effects(row, by_repair)
    tables["neuron_changes"] = {
        name: np.concatenate([chosen[name], by_repair[name]]) for name in PLACE
    } | {
        "ranking": np.repeat(
            np.array(["direct_effect", "mlp_repair"]), [of_chosen.sum(), len(more_clean)]
        ),
        "direct_effects": np.concatenate([clean[of_chosen], more_clean]),
        "direct_effects_ablated": np.concatenate([ablated[of_chosen], more_ablated]),
    }
    for table, columns in tables.items():
        of_run, n = RunTable(warehouse, table, row["run_id"]), row["n_sequences"]
        paths = []
        for start in range(0, n, shard or n):
            stop = min(start + (shard or n), n)
            here = (columns["sequence"] >= start) & (columns["sequence"] < stop)
            rows = {name: _rows(column, here) for name, column in columns.items()}
            paths.append(of_run.write(start, stop, rows, FINGERPRINT))
        planned(of_run, FINGERPRINT, paths)


def _rows(column: Any, here: NDArray[Any]) -> Any:
    if isinstance(column, list):
        return [item for item, kept in zip(column, here, strict=True) if kept]
    return np.broadcast_to(column, (len(here), *np.shape(column)[1:]))[here]


def facts_at(warehouse: Warehouse, row: dict[str, Any], kept: Columns) -> Columns:
    """The columns of head_ablations at the kept rows, in their order, and `mlp`, the last layer."""
    with duckdb.connect() as connection:
        for view, table in (("ablations", "head_ablations"), ("mlps", "mlp_effects")):
            files = [str(path) for path in RunTable(warehouse, table, row["run_id"]).files()]
            connection.register(view, connection.read_parquet(files, hive_partitioning=False))
        connection.execute(
            "create view last_mlp as select sequence, position, direct_effect as mlp"
            f" from mlps where layer = {row['n_layers'] - 1}"
        )
        numbered = pa.table(
            {name: pa.array(kept[name].tolist()) for name in PLACE}
            | {"n": np.arange(len(kept["layer"]))}
        )
        connection.register("kept", numbered)
        return dict(connection.execute(AT_KEPT).fetchnumpy())


def component_changes(row: dict[str, Any], facts: Columns) -> Columns:
    """Shares of the repair that add to one, the same for all rows of a layer."""
    parallel = int(row["parallel_attention"])
    lists: dict[str, list[NDArray[Any]]] = {"head_changes": [], "mlp_changes": []}
    for i, layer in enumerate(facts["layer"]):
        for name, of, n in (
            (
                "head_changes",
                "self_repair_from_heads",
                (row["n_layers"] - 1 - layer) * row["n_heads"],
            ),
            ("mlp_changes", "self_repair_from_mlps", row["n_layers"] - layer - parallel),
        ):
            weights = np.arange(1.0, n + 1)
            lists[name].append(facts[of][i] * weights / max(weights.sum(), 1))
    return {name: facts[name] for name in PLACE} | lists


def neuron_effects(row: dict[str, Any], facts: Columns) -> tuple[NDArray[Any], NDArray[Any]]:
    """[row neuron] clean and ablated; the last neuron makes the sums right, no layer has a bias."""
    rng = np.random.default_rng(row["seed"])
    by_place = rng.normal(0, 0.1, (row["n_sequences"], row["sequence_length"], row["d_mlp"]))
    clean = by_place[facts["sequence"], facts["position"]]
    changes = rng.normal(0, 0.05, clean.shape)
    clean[:, -1] = facts["mlp"] - clean[:, :-1].sum(axis=1)
    changes[:, -1] = facts["self_repair_from_last_mlp"] - changes[:, :-1].sum(axis=1)
    return clean, clean + changes


def neuron_repairs(
    row: dict[str, Any], facts: Columns, clean: NDArray[Any], ablated: NDArray[Any]
) -> Columns:
    """The summary of all neurons, with empty lists where the last MLP layer is not downstream."""
    changes, effect = ablated - clean, facts["direct_effect"].astype("f8")[:, None]
    order = np.argsort(-changes * np.sign(effect), axis=1, kind="stable")
    sizes = np.take_along_axis(np.abs(changes), order, axis=1)
    reached = np.concatenate([np.zeros((len(sizes), 1)), sizes.cumsum(axis=1)], axis=1)
    first = curve_counts(row["d_mlp"])
    most = order[:, :N_MOST]
    columns: Columns = {
        "neurons": most,
        "direct_effects": np.take_along_axis(clean, most, axis=1),
        "direct_effects_ablated": np.take_along_axis(ablated, most, axis=1),
        "net_change": changes.sum(axis=1),
        "positive_change": changes.clip(min=0).sum(axis=1),
        "absolute_change": np.abs(changes).sum(axis=1),
        "negligible_counts": (
            np.abs(changes)[:, :, None] < NEGLIGIBLE * np.abs(effect)[:, :, None]
        ).sum(axis=1),
        "cumulative_share": reached[:, first] / reached[:, -1:],
    }
    downstream = facts["layer"] < row["n_layers"] - int(row["parallel_attention"])
    for name, column in columns.items():
        if column.ndim == 1:
            columns[name] = np.where(downstream, column, 0)
        else:
            columns[name] = [
                c if here else c[:0] for c, here in zip(column, downstream, strict=True)
            ]
    return {name: facts[name] for name in PLACE} | columns


def self_reinforcement(warehouse: Warehouse, row: dict[str, Any]) -> Columns:
    """The first layer reinforces itself, the last one represses itself, by a share per scale."""
    files = [str(p) for p in RunTable(warehouse, "direct_effects", row["run_id"]).files()]
    with duckdb.connect() as connection:
        clean = connection.read_parquet(files, hive_partitioning=False).fetchnumpy()
    n = len(clean["layer"])
    columns = {name: np.tile(column, len(SCALES)) for name, column in clean.items()}
    scale = np.repeat(SCALES, n)
    slope = np.linspace(0.05, -0.05, row["n_layers"])[columns["layer"]]
    noise = np.random.default_rng(row["seed"]).normal(0, 0.01, len(scale))
    return columns | {
        "scale": scale,
        "direct_effect_after": columns["direct_effect"] * (1 + slope * scale) + noise,
        "ln_scale_after": np.full(n * len(SCALES), 2.0),
    }
