"""How much disk a run needs: the rows of each table, and what a row takes."""

from __future__ import annotations

from selfrepair_assets.measurement.engine.kept_details import TOP_NEURONS, curve_counts
from selfrepair_assets.measurement.heads import Head
from selfrepair_assets.measurement.model.models import LoadedModel
from selfrepair_assets.measurement.run_spec import RunSpec

FOLLOWED_HEADS = 4
"""Heads that are followed to every neuron where none are chosen."""
BYTES_AT_LEAST = 17_000_000
"""Of any run: the stored results, Dagster's history, the text."""
BYTES_PER_NUMBER, BYTES_PER_LISTED = 5.0, 11.5
"""Of a number of a table in its shard and in the published file; of one in a list, whose results
are stored too."""
OUTSIDE, OUTSIDE_FROM = 0.87, 230_000_000
"""What a run takes beside the published file, in Parquet, of what it would take in it: 0.88
measured on the demo, 0.85 on made-up rows. And from how many bytes on it lies there
(`warehouse/published/outside.py`)."""
LISTS = ("component_changes", "neuron_repairs", "neuron_changes")
"""The tables whose numbers are in lists."""


def table_numbers(spec: RunSpec, model: LoadedModel, n_sequences: int) -> dict[str, float]:
    """By table, the numbers (rows times columns, an entry of a list counting as a column)."""
    heads = spec.chosen_heads(model.n_layers, model.n_heads)
    positions = n_sequences * (spec.sequence_length - 1)
    of_model = positions * model.n_layers
    ablated, top = len(spec.ablations), spec.top_fraction * positions
    neurons = 2 * len(spec.ablations) * min(FOLLOWED_HEADS, len(heads))
    if spec.neuron_heads is not None:
        chosen = spec.chosen_neuron_heads(model.n_layers, model.n_heads) or []
        neurons = 2 * len(spec.ablations) * len(chosen)
    fed = spec.reinforced_heads(model.n_layers, model.n_heads)
    fed_positions = min(n_sequences, spec.n_reinforcement_sequences)
    fed_positions *= spec.n_reinforcement_positions
    with_neurons = [h for h in heads if model.d_mlp and _mlps_after(h, model)]
    return {
        "tokens": 10 * positions,
        "direct_effects": 1 * of_model * model.n_heads,
        "mlp_effects": 1 * of_model,
        "head_ablations": 9 * positions * len(heads) * ablated,
        "component_changes": ablated * top * sum(_downstream(head, model) for head in heads),
        "neuron_repairs": ablated * top * len(with_neurons)
        * (3 * TOP_NEURONS + len(curve_counts(model.d_mlp))),
        "neuron_changes": neurons * top * 2 * model.d_mlp,
        "self_reinforcement": 3 * len(fed) * len(spec.reinforcement_scales) * fed_positions,
    }  # fmt: skip


def _mlps_after(head: Head, model: LoadedModel) -> int:
    """MLP layers that read what the head writes."""
    return model.n_layers - head.layer - model.parallel_attention


def _downstream(head: Head, model: LoadedModel) -> int:
    """Components whose change is kept."""
    return (model.n_layers - 1 - head.layer) * model.n_heads + _mlps_after(head, model)


def bytes_of_run(spec: RunSpec, model: LoadedModel, n_sequences: int) -> int:
    """What so many sequences take once they are published: in shards, and as they are published."""
    numbers = table_numbers(spec, model, n_sequences)
    listed = sum(numbers[table] for table in LISTS)
    flat = sum(numbers.values()) - listed
    inside = BYTES_AT_LEAST + BYTES_PER_NUMBER * flat + BYTES_PER_LISTED * listed
    return round(inside * (OUTSIDE if inside > OUTSIDE_FROM else 1))


def bytes_at_most(spec: RunSpec, model: LoadedModel, n_sequences: int) -> int:
    """The same while the file's next generation is built beside it."""
    return round(1.5 * bytes_of_run(spec, model, n_sequences))
