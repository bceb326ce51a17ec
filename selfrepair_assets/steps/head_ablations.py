"""The step `head_ablations`: every chosen head is ablated, with the details of its top rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import pyarrow.parquet as pq

from selfrepair.warehouse.facts.top_rows import top_rows
from selfrepair_assets.measurement.engine.measure import Progress
from selfrepair_assets.measurement.engine.results import MeasuredHeads
from selfrepair_assets.measurement.errors import EngineMismatchError
from selfrepair_assets.steps.ablating import ablate, has_neurons, kept_rows, run_facts
from selfrepair_assets.steps.clean_run import predictions
from selfrepair_assets.steps.precision import is_watched, layer_precision, watch
from selfrepair_assets.steps.sharded.run_folder import RunFolder
from selfrepair_assets.steps.sharded.shards import Shard
from selfrepair_assets.steps.sharded.step import Step
from selfrepair_assets.steps.sharded.stored_shards import Columns, store_tables, stored_shard

EFFECT_TOLERANCE = 1e-3
"""Largest difference, in logits, of a direct effect measured twice that is rounding."""


def head_tokens(folder: RunFolder, shards: Sequence[Shard]) -> int:
    """The work in some shards: ablations x heads x prediction positions."""
    spec, model = folder.spec, folder.model
    heads = len(spec.chosen_heads(model["n_layers"], model["n_heads"]))
    return len(spec.ablations) * heads * predictions(folder, shards)


def keep_top_rows(folder: RunFolder) -> int:
    """Rank every head's rows by direct effect, in SQL, and keep where its top ones are."""
    if folder.find("top_rows") is None:
        folder.write_top_rows(top_rows(folder.warehouse, run_facts(folder)))
    return len(folder.top_rows())


def measure_ablation_shard(
    folder: RunFolder, shard: Shard, progress: Progress | None = None
) -> bool:
    """Ablate every chosen head over a shard's sequences; False where it was there already."""
    if HEAD_ABLATIONS.is_done(folder, shard):
        return False
    model = folder.model
    heads = folder.spec.chosen_heads(model["n_layers"], model["n_heads"])
    kept = folder.top_rows(shard.start, shard.stop)
    sequences = np.arange(shard.start, shard.stop)
    precision, ablations = watch(folder, shard), folder.spec.ablations
    effects, ln_scale = _stored_clean_values(folder, shard)
    rows_of: dict[str, Callable[[MeasuredHeads], Columns | None]] = {
        "head_ablations": lambda part: _fact_rows(part, sequences, effects, ln_scale),
        "component_changes": partial(kept_rows, "component_changes", sequences),
        "neuron_repairs": partial(kept_rows, "neuron_repairs", sequences),
    }
    if not has_neurons(folder):
        rows_of["neuron_repairs"] = lambda _: None
    found = ablate(folder, sequences, heads, ablations, kept, False, precision, progress)
    store_tables(folder, shard, found, rows_of, precision)
    return True


def _fact_rows(
    part: MeasuredHeads, sequences: np.ndarray, effects: np.ndarray, ln_scale: np.ndarray
) -> Columns:
    """Rows of `head_ablations`, with the direct effects that `direct_effects` holds, and S.

    Both are the same quantity of the same run; stored twice, it must be the same to the last bit,
    so that it ranks the rows alike.
    """
    layer, heads = part.heads[0].layer, [head.head for head in part.heads]
    columns = {name: column.numpy() for name, column in part.columns.items()}
    stored, measured = effects[layer, heads], columns["direct_effect"]
    if not np.abs(stored - measured).max() <= EFFECT_TOLERANCE:
        raise EngineMismatchError(
            f"layer {layer}: the clean run and the ablation measure direct effects that differ by "
            f"{np.abs(stored - measured).max():.3g} logits, so that nothing of these sequences is "
            "stored: the same command measures them again. If it ends like this once more, measure "
            "the run anew with --restart."
        )
    columns["direct_effect_ablated"] = columns["direct_effect_ablated"] + (stored - measured)
    columns |= {"direct_effect": stored, "ln_scale": ln_scale}
    where = {
        "ablation": np.array(part.ablation),
        "layer": np.array(layer),
        "head": np.array(heads)[:, None, None],
        "sequence": sequences[:, None],
        "position": np.arange(stored.shape[-1]),
    }
    return where | columns


def _stored_clean_values(folder: RunFolder, shard: Shard) -> tuple[np.ndarray, np.ndarray]:
    """The shard's direct effects [layer head sequence pos] and ln_scale [sequence pos], as stored.

    The rows of both tables are sorted that way.
    """
    effects, ln_scale = (
        pq.read_table(stored_shard(folder, table, shard), columns=[column])[column].to_numpy()
        for table, column in (("direct_effects", "direct_effect"), ("tokens", "ln_scale"))
    )
    places = (shard.stop - shard.start, folder.spec.sequence_length - 1)
    heads = (folder.model["n_layers"], folder.model["n_heads"])
    return effects.reshape(*heads, *places), ln_scale.reshape(places)


HEAD_ABLATIONS = Step(
    "head ablations",
    "head-tokens",
    ("head_ablations", "component_changes", "neuron_repairs"),
    measure_ablation_shard,
    head_tokens,
    is_run=True,
    precision=layer_precision,
    also=is_watched,
)
