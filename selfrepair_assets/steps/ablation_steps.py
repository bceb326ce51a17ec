"""The steps that ablate heads and feed them their own output; see `steps` for what comes before.

kept_rows ─► ablation shard … ─► neuron shard …          reinforcement shard …
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow.parquet as pq

from selfrepair.warehouse.facts.tables import schema
from selfrepair.warehouse.facts.top_rows import most_direct_heads, top_rows, top_rows_by_mlp_repair
from selfrepair_assets.measurement.ablations import any_needs
from selfrepair_assets.measurement.engine.bf16_error import LayerPrecision
from selfrepair_assets.measurement.engine.interface import AblationRequest
from selfrepair_assets.measurement.engine.kept_rows import KeptRows
from selfrepair_assets.measurement.engine.measure import (
    EngineMismatchError,
    Measurer,
    Progress,
)
from selfrepair_assets.measurement.engine.results import AblatedHeads
from selfrepair_assets.measurement.heads import Head
from selfrepair_assets.steps.precision_steps import is_watched, watch
from selfrepair_assets.steps.run_folder import RunFolder, Shard
from selfrepair_assets.steps.run_steps import (
    Columns,
    layer_precision,
    load_for,
    run_facts,
    shard_is_done,
    store_shard,
    stored_shard,
)

ABLATION_TABLES = ("head_ablations", "component_changes", "neuron_repairs")
EFFECT_TOLERANCE = 1e-3
"""Largest difference, in logits, of a direct effect measured twice that is rounding."""


def ablation_shard_done(
    folder: RunFolder, shard: Shard, precision: LayerPrecision | None = None
) -> bool:
    """Whether a shard is measured in the precision that the run has now (None: asks for it)."""
    precision = precision or layer_precision(folder)
    there = all(shard_is_done(folder, table, shard, precision) for table in ABLATION_TABLES)
    return there and is_watched(folder, shard)


def missing_shards(folder: RunFolder) -> list[Shard]:
    """The shards that are still to be measured, or anew."""
    precision = layer_precision(folder)
    return [s for s in folder.shards if not ablation_shard_done(folder, s, precision)]


def head_tokens(folder: RunFolder, shards: list[Shard]) -> int:
    """The work in some shards: ablations x heads x prediction positions."""
    spec, model = folder.spec, folder.model
    heads = len(spec.chosen_heads(model["n_layers"], model["n_heads"]))
    return len(spec.ablations) * heads * _positions(folder, shards)


def keep_top_rows(folder: RunFolder) -> int:
    """Rank every head's rows by direct effect, in SQL, and keep where its top ones are."""
    if not folder.has_top_rows:
        places = top_rows(folder.warehouse, run_facts(folder))
        folder.write_top_rows(places)
    return len(folder.top_rows())


def measure_ablation_shard(
    folder: RunFolder, shard: Shard, progress: Progress | None = None
) -> bool:
    """Ablate every chosen head over a shard's sequences; False where it was there already."""
    if ablation_shard_done(folder, shard):
        return False
    model = folder.model
    heads = folder.spec.chosen_heads(model["n_layers"], model["n_heads"])
    kept = folder.top_rows(shard.start, shard.stop)
    some = np.arange(shard.start, shard.stop)
    precision, ablations = watch(folder, shard), folder.spec.ablations
    found = in_order(_ablate(folder, some, heads, ablations, kept, False, precision, progress))
    clean = _stored_clean_values(folder, shard)
    fact_table, *detail_tables = ABLATION_TABLES
    facts = (_fact_rows(part, some, *clean) for part in found)
    store_shard(folder, fact_table, shard, facts, precision)
    for table in detail_tables:
        has_rows = table != "neuron_repairs" or has_neurons(folder)
        rows = (_kept_rows(table, part, some) for part in found) if has_rows else []
        store_shard(folder, table, shard, rows, precision)
    return True


def has_neurons(folder: RunFolder) -> bool:
    """Whether the last MLP layer has neurons to follow; a mixture of experts does not."""
    return bool(folder.model["d_mlp"])


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
            top = folder.top_rows(shard.start, shard.stop)
            return top.of_heads([(head.layer, head.head) for head in self.heads])
        of_ablation = self.by_repair["ablation"] == ablation
        places = {name: column[of_ablation] for name, column in self.by_repair.items()}
        return KeptRows.at(places).in_sequences(shard.start, shard.stop)


def neuron_rows(folder: RunFolder) -> NeuronRows:
    """Rank the rows once for all shards: it reads the whole run."""
    heads = neuron_heads(folder)
    pairs = [(head.layer, head.head) for head in heads]
    return NeuronRows(heads, top_rows_by_mlp_repair(folder.warehouse, run_facts(folder), pairs))


def measure_neuron_shard(
    folder: RunFolder, shard: Shard, rows: NeuronRows, progress: Progress | None = None
) -> bool:
    """Every neuron of the last MLP on the top rows of some heads; False where it was there.

    The top rows by direct effect, and those by the last MLP layer's self-repair, which each
    ablation has of its own.
    """
    precision = layer_precision(folder)
    if shard_is_done(folder, "neuron_changes", shard, precision):
        return False
    parts = _neuron_parts(folder, shard, rows, precision, progress) if has_neurons(folder) else []
    store_shard(folder, "neuron_changes", shard, parts, precision)
    return True


def _neuron_parts(
    folder: RunFolder,
    shard: Shard,
    rows: NeuronRows,
    precision: LayerPrecision,
    progress: Progress | None,
) -> Iterator[Columns]:
    for ranking in ("direct_effect", "mlp_repair"):
        for ablation in sorted(folder.spec.ablations):
            here, kept = rows.ranked_by(ranking, ablation, folder, shard).renumbered()
            if not len(here):
                continue
            sequences = here + shard.start  # only those that have a kept row are run
            found = _ablate(
                folder, sequences, rows.heads, (ablation,), kept, True, precision, progress
            )
            for part in in_order(found):
                yield _kept_rows("neuron_changes", part, sequences, ranking)


def reinforcement_work(folder: RunFolder, shards: list[Shard]) -> int:
    spec, model = folder.spec, folder.model
    heads = spec.reinforced_heads(model["n_layers"], model["n_heads"])
    sequences = sum(shard.stop - shard.start for shard in shards)
    positions = sequences * spec.n_reinforcement_positions
    return len(heads) * len(spec.reinforcement_scales) * positions


def measure_reinforcement_shard(
    folder: RunFolder, shard: Shard, progress: Progress | None = None
) -> bool:
    """Feed heads their own output on a shard's first tokens; False where it was there already."""
    if shard_is_done(folder, "self_reinforcement", shard):
        return False
    spec, loaded = folder.spec, load_for(folder)
    first = spec.n_reinforcement_positions + 1
    tokens = np.asarray(folder.tokens[shard.start : shard.stop, :first])
    heads = spec.reinforced_heads(loaded.n_layers, loaded.n_heads)
    scales = spec.reinforcement_scales
    found = Measurer(loaded, spec).reinforce(tokens, heads, scales, progress)
    store_shard(
        folder,
        "self_reinforcement",
        shard,
        (
            {
                "layer": np.array(part.heads[0].layer),
                "head": np.array([head.head for head in part.heads])[:, None, None],
                "scale": np.array(scales, dtype=np.float32)[:, None, None, None],
                "sequence": np.arange(shard.start, shard.stop)[:, None],
                "position": np.arange(tokens.shape[1] - 1),
                "direct_effect": part.direct_effect.numpy(),
                "direct_effect_after": part.direct_effect_after.numpy(),
                "ln_scale_after": part.ln_scale_after.numpy(),
            }
            for part in found
        ),
    )
    return True


def _ablate(
    folder: RunFolder,
    sequences: np.ndarray,
    heads: list[Head],
    ablations: tuple[str, ...],
    kept: KeptRows,
    all_neurons: bool,
    precision: LayerPrecision,
    progress: Progress | None,
) -> list[AblatedHeads]:
    spec = folder.spec
    partners = np.array(spec.resample_partners())[sequences]
    measurer = Measurer(load_for(folder), spec, precision.layers)
    request = AblationRequest(
        np.asarray(folder.tokens[sequences]),
        heads,
        ablations,
        np.asarray(folder.tokens[partners]) if any_needs(ablations, "partner_tokens") else None,
        folder.mean_z() if any_needs(ablations, "mean_z") else None,
        kept,
        all_neurons,
    )
    return list(measurer.ablate(request, progress))


def in_order(parts: Iterable[AblatedHeads]) -> list[AblatedHeads]:
    """The parts in the order of a shard's rows."""
    return sorted(parts, key=lambda part: (part.ablation, part.heads[0].layer))


def _fact_rows(
    part: AblatedHeads, sequences: np.ndarray, effects: np.ndarray, ln_scale: np.ndarray
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
            f"{np.abs(stored - measured).max():.3g} logits. Measure the run again with --restart."
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


def _kept_rows(
    table: str, part: AblatedHeads, sequences: np.ndarray, ranking: str | None = None
) -> Columns:
    """The rows of a table of details: where a part's kept rows are, and what it kept of them."""
    assert part.kept is not None
    assert part.details is not None
    columns = {
        "ranking": np.array(ranking),
        "ablation": np.array(part.ablation),
        "layer": part.kept.layer,
        "head": part.kept.head,
        "sequence": sequences[part.kept.sequence],
        "position": part.kept.position,
    } | {name: column.numpy() for name, column in part.details.items()}
    return {name: columns[name] for name in schema(table).names}


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


def _positions(folder: RunFolder, shards: list[Shard]) -> int:
    return sum(s.stop - s.start for s in shards) * (folder.spec.sequence_length - 1)
