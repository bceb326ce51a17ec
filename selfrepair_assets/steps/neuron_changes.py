"""The step `neuron_changes`: the top rows of some heads, followed to each neuron."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from selfrepair.warehouse.facts.top_rows import most_direct_heads, top_rows_by_mlp_repair
from selfrepair_assets.measurement.engine.fast_error import LayerPrecision
from selfrepair_assets.measurement.engine.measure import Progress
from selfrepair_assets.measurement.engine.results import KeptRows
from selfrepair_assets.measurement.heads import Head
from selfrepair_assets.steps.ablating import ablate, has_neurons, kept_rows, run_facts
from selfrepair_assets.steps.precision import layer_precision
from selfrepair_assets.steps.sharded.run_folder import RunFolder
from selfrepair_assets.steps.sharded.shards import Shard
from selfrepair_assets.steps.sharded.step import Step
from selfrepair_assets.steps.sharded.stored_shards import Columns, shard_is_done, store_tables

RANKED = "neurons_ranked"
"""The note of how many sequences were ranked for the neurons, of a run that was ever stopped."""


def neuron_changes(folder: RunFolder) -> Step:
    """The step for a run whose heads are ablated; ranks its rows, once for all shards."""
    rows = neuron_rows(folder)
    return Step(
        f"neurons of {', '.join(map(str, rows.heads))}",
        "shards",
        ("neuron_changes",),
        partial(measure_neuron_shard, rows),
        _n_shards,
        precision=layer_precision,
    )


def _n_shards(_folder: RunFolder, shards: Sequence[Shard]) -> int:
    return len(shards)


def neuron_heads(folder: RunFolder) -> list[Head]:
    """The heads that are followed to every neuron: chosen, or the most direct ones."""
    model = folder.model
    chosen = folder.spec.chosen_neuron_heads(model["n_layers"], model["n_heads"])
    if chosen is not None:
        return chosen
    return sorted(Head(*head) for head in most_direct_heads(folder.warehouse, run_facts(folder)))


@dataclass(frozen=True)
class NeuronRows:
    """Which heads are followed to every neuron, and their top rows by the last MLP's repair."""

    heads: list[Head]
    by_repair: dict[str, np.ndarray]

    def ranked_by(self, ranking: str, ablation: str, folder: RunFolder, shard: Shard) -> KeptRows:
        """The heads' top rows in a shard, by `direct_effect` or by `mlp_repair`."""
        if ranking == "direct_effect":
            return folder.top_rows(shard.start, shard.stop).of_heads(self.heads)
        is_wanted = self.by_repair["ablation"] == ablation
        places = {name: column[is_wanted] for name, column in self.by_repair.items()}
        return KeptRows.at(places).in_sequences(shard.start, shard.stop)


def neuron_rows(folder: RunFolder) -> NeuronRows:
    """Rank the rows once for all shards: it reads the whole run, or what is measured of it.

    What was followed when there were fewer rows to rank is withdrawn: a run that was stopped and
    goes on has other top rows by the last MLP's repair.
    """
    part, noted = folder.stopped_at, folder.noted(RANKED)
    if noted is not None and noted["part"] != part:
        of_run = folder.table("neuron_changes")
        of_run.withdraw(of_run.shards())
    if part is not None or noted is not None:
        folder.note(RANKED, {"part": part})
    heads = neuron_heads(folder)
    pairs = [(head.layer, head.head) for head in heads]
    return NeuronRows(
        heads, top_rows_by_mlp_repair(folder.warehouse, run_facts(folder), pairs, part)
    )


def measure_neuron_shard(
    rows: NeuronRows, folder: RunFolder, shard: Shard, progress: Progress | None = None
) -> bool:
    """Every neuron of the last MLP on the top rows of some heads; False where it was there.

    The top rows by direct effect, and those by the last MLP layer's self-repair, which each
    ablation has of its own.
    """
    precision = layer_precision(folder)
    if shard_is_done(folder, "neuron_changes", shard, precision):
        return False
    parts = _neuron_parts(folder, shard, rows, precision) if has_neurons(folder) else []
    store_tables(folder, shard, parts, {"neuron_changes": lambda found: found}, precision)
    if progress is not None:
        progress(1)
    return True


def _neuron_parts(
    folder: RunFolder, shard: Shard, rows: NeuronRows, precision: LayerPrecision
) -> Iterator[Columns]:
    for ranking in ("direct_effect", "mlp_repair"):
        for ablation in sorted(folder.spec.ablations):
            here, kept = rows.ranked_by(ranking, ablation, folder, shard).renumbered()
            if not len(here):
                continue
            sequences = here + shard.start  # only those that have a kept row are run
            found = ablate(folder, sequences, rows.heads, (ablation,), kept, True, precision, None)
            for part in found:
                yield kept_rows("neuron_changes", sequences, part, ranking)
