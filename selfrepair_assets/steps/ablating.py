"""What the steps that ablate share: a run's sequences ablated, and the rows of its details."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from selfrepair.warehouse.facts.tables import schema
from selfrepair_assets.measurement.ablations import any_needs
from selfrepair_assets.measurement.engine.fast_error import LayerPrecision
from selfrepair_assets.measurement.engine.interface import AblationRequest
from selfrepair_assets.measurement.engine.measure import Measurer, Progress
from selfrepair_assets.measurement.engine.results import KeptRows, MeasuredHeads
from selfrepair_assets.measurement.heads import Head
from selfrepair_assets.steps.run_spec import load_for
from selfrepair_assets.steps.sharded.run_folder import RunFolder
from selfrepair_assets.steps.sharded.stored_shards import Columns


def run_facts(folder: RunFolder) -> dict[str, Any]:
    """What SQL must know of a run to rank its rows: the part of its row that is fixed early."""
    spec, model = folder.spec, folder.model
    chosen = spec.chosen_heads(model["n_layers"], model["n_heads"])
    every = model["n_layers"] * model["n_heads"] == len(chosen)
    return {
        "run_id": spec.run_id,
        "n_layers": model["n_layers"],
        "n_heads": model["n_heads"],
        "parallel_attention": model["parallel_attention"],
        "heads": None if every else [str(head) for head in chosen],
        "top_fraction": spec.top_fraction,
    }


def has_neurons(folder: RunFolder) -> bool:
    """Whether the last MLP layer has neurons to follow; a mixture of experts does not."""
    return bool(folder.model["d_mlp"])


def ablate(
    folder: RunFolder,
    sequences: np.ndarray,
    heads: list[Head],
    ablations: tuple[str, ...],
    kept: KeptRows,
    all_neurons: bool,
    precision: LayerPrecision,
    progress: Progress | None,
) -> Iterator[MeasuredHeads]:
    """One answer for each ablation and layer, in the order of a shard's rows, as they come."""
    spec = folder.spec
    partners = np.array(spec.resample_partners())[sequences]
    measurer = Measurer(load_for(folder), spec, precision.layers)
    request = AblationRequest(
        np.asarray(folder.tokens[sequences]),
        heads,
        sorted(ablations),
        np.asarray(folder.tokens[partners]) if any_needs(ablations, "partner_tokens") else None,
        folder.mean_z() if any_needs(ablations, "mean_z") else None,
        kept,
        all_neurons,
    )
    return measurer.ablate(request, progress)


def kept_rows(
    table: str, sequences: np.ndarray, part: MeasuredHeads, ranking: str | None = None
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
