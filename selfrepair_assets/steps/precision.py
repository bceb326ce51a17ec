"""A fast precision is watched on the run: a layer whose error leaves its bound leaves it for fp32.

1. Before the run, a sample says which layers may be measured in it (`layer_precision`); of bf16's
   two, bf16 and bf16_fp32, a layer takes the faster one that keeps the bound.
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

from selfrepair.warehouse.facts.shards import shard_precision
from selfrepair_assets.measurement.ablations import any_needs
from selfrepair_assets.measurement.engine import fast_error
from selfrepair_assets.measurement.engine.fast_error import LayerPrecision, Sampled
from selfrepair_assets.measurement.engine.interface import AblationRequest
from selfrepair_assets.measurement.engine.measure import Measurer, Progress
from selfrepair_assets.steps.run_spec import load_for
from selfrepair_assets.steps.sharded.run_folder import RunFolder
from selfrepair_assets.steps.sharded.shards import Shard

logger = logging.getLogger(__name__)
PRECISE_TABLES = ("head_ablations", "component_changes", "neuron_repairs", "neuron_changes")
"""The tables whose values depend on the precision."""
SAMPLE_LEAST, SAMPLE_MOST = 2, 8
"""Sequences of the sample: a hundredth of the run's, within these bounds."""


def precision_work(folder: RunFolder) -> int:
    """Head-tokens that choosing the precision may measure."""
    return Measurer(load_for(folder), folder.spec).sample_work(_precision_sample(folder)[0])


def layer_precision(folder: RunFolder, progress: Progress | None = None) -> LayerPrecision:
    """Per layer the precision that it has now, by what has been seen of the error so far.

    It is not stored: it follows from the error on a sample, which is measured here once, and from
    that of the shards' watched rows (`watch`), both of which are.

    progress: is told of the head-tokens of the sample.
    """
    sample = _sampled_squares(folder, progress)
    if sample is None:
        return LayerPrecision.fp32(folder.model["n_layers"])
    notes = (folder.noted(_watched_note(folder, shard)) for shard in folder.shards)
    watched = (None if note is None else np.array(note["squares"]) for note in notes)
    return fast_error.kept(sample, watched, folder.spec.precision)


def is_watched(folder: RunFolder, shard: Shard) -> bool:
    """Whether what there is to see of the error in a shard has been seen."""
    return set(_sampled_choice(folder).layers) == {"fp32"} or (
        folder.noted(_watched_note(folder, shard)) is not None
    )


def watch(folder: RunFolder, shard: Shard) -> LayerPrecision:
    """Note the error in a shard, and return the precision that each layer has then.

    The layers are those that the sample chose for the fast precision, also such as have left it
    since. Their rows are of some sequences, with their real partners.
    """
    if not is_watched(folder, shard):
        spec, model, number = folder.spec, folder.model, folder.shards.index(shard)
        size, sampled = shard.stop - shard.start, _sampled_choice(folder).layers
        heads = fast_error.watched_heads(
            spec.chosen_heads(model["n_layers"], model["n_heads"]),
            sampled,
            number,
            size,
        )
        sequences = [shard.start + i for i in fast_error.watched_sequences(number, size)]
        partners = np.array(spec.resample_partners())[sequences]
        request = AblationRequest(
            np.asarray(folder.tokens[sequences]),
            heads,
            spec.ablations,
            np.asarray(folder.tokens[partners]),
            folder.mean_z() if any_needs(spec.ablations, "mean_z") else None,
        )
        [squares] = Measurer(load_for(folder), spec).errors_of_fast(request, [sampled])
        before = layer_precision(folder)
        seen = {"sequences": sequences, "heads": [str(head) for head in heads]}
        folder.note(_watched_note(folder, shard), seen | {"squares": squares.tolist()})
        _tell(before, layer_precision(folder))
    return layer_precision(folder)


def superseded(folder: RunFolder) -> dict[str, list[Path]]:
    """By table, the shards that were measured in another precision than the run has now."""
    tag = layer_precision(folder).tag
    found: dict[str, list[Path]] = {}
    for table in PRECISE_TABLES if tag is not None else ():
        others = [p for p in folder.table(table).shards() if shard_precision(p) != tag]
        if others:
            found[table] = others
    return found


def withdraw_superseded(folder: RunFolder) -> int:
    """Remove the shards that are to be measured anew; returns how many."""
    found = superseded(folder)
    for table, shards in found.items():
        folder.table(table).withdraw(shards)
    return sum(map(len, found.values()))


def _sampled_choice(folder: RunFolder) -> LayerPrecision:
    """The precision of each layer before anything of the run was watched."""
    sample = _sampled_squares(folder)
    if sample is None:
        return LayerPrecision.fp32(folder.model["n_layers"])
    return fast_error.chosen(sample, folder.spec.precision)


def _sampled_squares(folder: RunFolder, progress: Progress | None = None) -> Sampled | None:
    """What a sample of the run shows of the error, measured once; None where all is in fp32."""
    spec = folder.spec
    if spec.precision == "fp32" or folder.model["engine"] != "perturbation":
        return None
    noted = folder.noted(sample_note(folder))
    if noted is None:
        tokens, partners = _precision_sample(folder)
        mean_z = folder.mean_z() if any_needs(spec.ablations, "mean_z") else None
        measurer = Measurer(load_for(folder), spec)
        heads = measurer.sampled_heads
        request = AblationRequest(tokens, heads, spec.ablations, partners, mean_z)
        sampled = measurer.sample(request, progress)
        noted = {"squares": {fast: squares.tolist() for fast, squares in sampled.items()}}
        folder.note(sample_note(folder), noted)
    squares = noted["squares"]
    if isinstance(squares, list):  # of a run that an older version began
        squares = {spec.precision: squares}
    return {fast: np.array(of) for fast, of in squares.items()}


def sample_note(folder: RunFolder) -> str:
    """The name of the note of the error on a sample, of a run that is not in fp32."""
    return f"{folder.spec.precision}-sample"


def _watched_note(folder: RunFolder, shard: Shard) -> str:
    """The name of the note of the error on a shard's watched rows."""
    return f"{folder.spec.precision}-{shard}"


def _precision_sample(folder: RunFolder) -> tuple[np.ndarray, np.ndarray]:
    """Some sequences from all over the run, and their partners."""
    of_run = folder.spec.n_sequences
    n = min(SAMPLE_MOST, max(SAMPLE_LEAST, of_run // 100))
    sequences = np.linspace(0, of_run - 1, n).astype(int)
    partners = np.array(folder.spec.resample_partners())[sequences]
    return np.asarray(folder.tokens[sequences]), np.asarray(folder.tokens[partners])


def _tell(before: LayerPrecision, now: LayerPrecision) -> None:
    for layer, (was, error) in enumerate(zip(before.layers, now.errors, strict=True)):
        if was != now.layers[layer]:
            logger.warning(
                f"layer {layer} is measured in fp32 from now on, and anew: the error of {was} is "
                f"{error:.2%} of its logit change so far"
            )
