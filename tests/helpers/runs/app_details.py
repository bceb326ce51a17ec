"""Made-up details of a made-up run: which components and neurons changed, self-reinforcement."""

from itertools import product
from typing import Any

import numpy as np

from selfrepair.warehouse.facts.run_table import RunTable
from selfrepair.warehouse.paths import Warehouse
from selfrepair_assets.measurement.engine.kept_details import curve_counts
from tests.helpers.runs.small_run import FINGERPRINT, planned, tables

SCALES = (1.0, 3.0, 5.0)


def write_details(warehouse: Warehouse, row: dict[str, Any]) -> None:
    """Writes the detail tables of a run whose facts `small_run.write_run` wrote in one shard."""
    rng = np.random.default_rng(row["seed"])
    n_sequences = row["n_sequences"]
    facts = tables(row, 0, n_sequences)
    effect = facts["direct_effects"]["direct_effect"]
    by_mlp = facts["head_ablations"]["self_repair_from_last_mlp"]
    places = [
        (ablation, layer, head, *place)
        for ablation, layer, head in product(
            row["ablations"], range(row["n_layers"]), range(row["n_heads"])
        )
        for place in _top(effect[layer, head], row["top_fraction"])
    ]
    chosen = [place for place in places if place[1] < row["n_layers"] - 1 and place[2] == 0]
    chosen_by_mlp = [
        (ablation, layer, 0, *place)
        for i, ablation in enumerate(row["ablations"])
        for layer in range(row["n_layers"] - 1)
        for place in _top(by_mlp[i, layer, 0], row["top_fraction"])
    ]
    made = {
        "component_changes": _component_changes(row, places, rng),
        "neuron_repairs": _neuron_repairs(row, places, rng),
        "neuron_changes": _neuron_changes(row, chosen, chosen_by_mlp, rng),
        "self_reinforcement": _self_reinforcement(effect, rng),
    }
    for table, columns in made.items():
        path = RunTable(warehouse, table, row["run_id"]).write(0, n_sequences, columns, FINGERPRINT)
        planned(RunTable(warehouse, table, row["run_id"]), FINGERPRINT, [path])


def _top(effect: np.ndarray, fraction: float) -> list[tuple[int, int]]:
    """(sequence, position) of the largest values of [sequence pos]."""
    order = np.argsort(-effect.ravel(), kind="stable")[: int(fraction * effect.size + 1e-9)]
    return [(int(i // effect.shape[1]), int(i % effect.shape[1])) for i in order]


def _where(places: list[tuple[Any, ...]]) -> dict[str, Any]:
    names = ("ablation", "layer", "head", "sequence", "position")
    return {name: np.array(one) for name, one in zip(names, zip(*places, strict=True), strict=True)}


def _component_changes(
    row: dict[str, Any], places: list[tuple[Any, ...]], rng: np.random.Generator
) -> dict[str, Any]:
    heads = [(row["n_layers"] - layer - 1) * row["n_heads"] for _, layer, *_ in places]
    mlps = [row["n_layers"] - layer for _, layer, *_ in places]
    return _where(places) | {
        "head_changes": [rng.normal(0.05, 0.1, n).astype("f4") for n in heads],
        "mlp_changes": [rng.normal(0.1, 0.1, n).astype("f4") for n in mlps],
    }


def _neuron_repairs(
    row: dict[str, Any], places: list[tuple[Any, ...]], rng: np.random.Generator
) -> dict[str, Any]:
    d_mlp = row["d_mlp"]
    clean = rng.normal(-0.1, 0.1, (len(places), d_mlp)).astype("f4")
    ablated = clean + np.sort(rng.normal(0.02, 0.1, clean.shape), axis=1)[:, ::-1].astype("f4")
    change = ablated - clean
    total = np.abs(change).sum(axis=1)
    steps = curve_counts(d_mlp)
    summed = np.concatenate([np.zeros((len(places), 1)), np.abs(change).cumsum(axis=1)], axis=1)
    return _where(places) | {
        "neurons": np.argsort(rng.random(clean.shape), axis=1).astype("i4"),
        "direct_effects": clean,
        "direct_effects_ablated": ablated,
        "net_change": change.sum(axis=1),
        "positive_change": np.where(change > 0, change, 0).sum(axis=1),
        "absolute_change": total,
        "negligible_counts": np.sort(rng.integers(0, d_mlp, (len(places), 4))).astype("i4"),
        "cumulative_share": (summed[:, steps] / total[:, None]).astype("f4"),
    }


def _neuron_changes(
    row: dict[str, Any],
    by_effect: list[tuple[Any, ...]],
    by_mlp: list[tuple[Any, ...]],
    rng: np.random.Generator,
) -> dict[str, Any]:
    chosen = by_effect + by_mlp
    clean = rng.normal(-0.1, 0.2, (len(chosen), row["d_mlp"])).astype("f4")
    return _where(chosen) | {
        "ranking": np.array(["direct_effect"] * len(by_effect) + ["mlp_repair"] * len(by_mlp)),
        "direct_effects": clean,
        "direct_effects_ablated": clean + rng.normal(0.05, 0.2, clean.shape).astype("f4"),
    }


def _self_reinforcement(effect: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
    """The first layer reinforces itself, the last one represses itself."""
    n_layers, n_heads, n_sequences, n_positions = effect.shape
    slope = np.linspace(0.05, -0.05, n_layers)[None, :, None, None, None]
    scale = np.array(SCALES)[:, None, None, None, None]
    noise = rng.normal(0, 0.01, (len(SCALES), *effect.shape))
    return {
        "scale": scale,
        "layer": np.arange(n_layers)[:, None, None, None],
        "head": np.arange(n_heads)[:, None, None],
        "sequence": np.arange(n_sequences)[:, None],
        "position": np.arange(n_positions),
        "direct_effect": effect,
        "direct_effect_after": (effect * (1 + slope * scale) + noise).astype("f4"),
        "ln_scale_after": np.full(effect.shape, 2.0, dtype="f4"),
    }
