"""bf16 is watched while a run is measured, and a layer whose error leaves the bound leaves bf16.

1. Before the run, a sample says which layers may be measured in bf16 (`steps.layer_precision`).
2. Before a shard is measured, a few of its rows of each of those layers are measured both ways, and
   what they show is noted (`watch`). The note is on the disk before the shard is.
3. What the sample and the notes show together decides each layer's precision. A layer that leaves
   the bound is measured in fp32 from then on.
4. A shard's footer says in which precision each layer was. One that says another than the run has
   now is not done: it is withdrawn (`withdraw_superseded`) and measured anew.

Nothing else is remembered. A note is of the shard alone, whatever was decided before it, so that
the run ends the same in whichever order, by whichever processes and after whichever interruption
its shards are measured.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from selfrepair.warehouse.facts.manifest import withdraw_shards
from selfrepair.warehouse.facts.shards import SHARD_NAME, shard_precision
from selfrepair_assets.measurement.ablations import any_needs
from selfrepair_assets.measurement.engine import bf16_error
from selfrepair_assets.measurement.engine.bf16_error import LayerPrecision
from selfrepair_assets.measurement.engine.interface import AblationRequest
from selfrepair_assets.measurement.engine.measure import Measurer
from selfrepair_assets.steps.run_folder import RunFolder, Shard
from selfrepair_assets.steps.run_steps import (
    layer_precision,
    load_for,
    sampled_choice,
    watched_note,
)

logger = logging.getLogger(__name__)
PRECISE_TABLES = ("head_ablations", "component_changes", "neuron_repairs", "neuron_changes")
"""The tables whose values depend on the precision."""


def is_watched(folder: RunFolder, shard: Shard) -> bool:
    """Whether what there is to see of bf16 in a shard has been seen."""
    return "bf16" not in sampled_choice(folder).layers or (
        folder.noted(watched_note(shard)) is not None
    )


def watch(folder: RunFolder, shard: Shard) -> LayerPrecision:
    """Note what bf16 costs in a shard, and return the precision that each layer has then.

    The layers are those that the sample chose for bf16, also such as have left it since. Their rows
    are of one sequence, with its real partner.
    """
    if not is_watched(folder, shard):
        spec, model, number = folder.spec, folder.model, folder.shards.index(shard)
        size = shard.stop - shard.start
        heads = bf16_error.watched_heads(
            spec.chosen_heads(model["n_layers"], model["n_heads"]),
            sampled_choice(folder).layers,
            number,
            size,
        )
        sequence = shard.start + number % size
        partner = spec.resample_partners()[sequence]
        request = AblationRequest(
            np.asarray(folder.tokens[[sequence]]),
            heads,
            spec.ablations,
            np.asarray(folder.tokens[[partner]]),
            folder.mean_z() if any_needs(spec.ablations, "mean_z") else None,
        )
        squares = Measurer(load_for(folder), spec).error_of_bf16(request)
        before = layer_precision(folder)
        seen = {"sequence": sequence, "heads": [str(head) for head in heads]}
        folder.note(watched_note(shard), seen | {"squares": squares.tolist()})
        _tell(before, layer_precision(folder))
    return layer_precision(folder)


def superseded(folder: RunFolder) -> dict[str, list[Path]]:
    """By table, the shards that were measured in another precision than the run has now."""
    tag = layer_precision(folder).tag
    found: dict[str, list[Path]] = {}
    for table in PRECISE_TABLES if tag is not None else ():
        shards = folder.warehouse.facts(table, folder.run_id)
        there = sorted(shards.iterdir()) if shards.is_dir() else []
        others = [p for p in there if SHARD_NAME.fullmatch(p.name) and shard_precision(p) != tag]
        if others:
            found[table] = others
    return found


def withdraw_superseded(folder: RunFolder) -> int:
    """Remove the shards that are to be measured anew; returns how many."""
    found = superseded(folder)
    for table, shards in found.items():
        withdraw_shards(folder.warehouse, table, folder.run_id, shards)
    return sum(map(len, found.values()))


def _tell(before: LayerPrecision, now: LayerPrecision) -> None:
    for layer, (was, error) in enumerate(zip(before.layers, now.errors, strict=True)):
        if was != now.layers[layer]:
            logger.warning(
                f"layer {layer} is measured in fp32 from now on, and anew: the error of bf16 is "
                f"{error:.2%} of its logit change so far"
            )
