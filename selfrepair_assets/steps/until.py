"""`--until`: a run that is measured until its means are sure enough, and no longer.

1. After each shard (of large runs when a 64th is new), the standard error of mean self-repair on
   the top rows is known of every head and ablation, over the run's first shards: the one that is
   published of them, which knows that the cut moves with the text (specification, section 6).
2. Where it is at most the limit for `SHARE` of them, and there are `FEWEST_CLUSTERS` clusters, the
   run stops; what there is of it is its result.
3. Errors fall as the root of the number of tokens, which says how many are probably needed.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from selfrepair.warehouse.facts.repair_errors import repair_above, repair_errors
from selfrepair.warehouse.facts.top_rows import Floors, effect_floors
from selfrepair.warehouse.paths import Warehouse
from selfrepair_assets.measurement.options import Limit
from selfrepair_assets.steps.ablating import run_facts
from selfrepair_assets.steps.parts import measured_part
from selfrepair_assets.steps.sharded.run_folder import RunFolder
from selfrepair_assets.steps.sharded.stored_shards import stored_shard

SHARE = 0.95
"""Of the heads, under each ablation, so many must be sure enough."""
FEWEST_CLUSTERS = 10
"""Fewer say too little of how much clusters differ."""
PART = 64
"""A look at a run takes the longer the more there is of it: some 5 s at 143 M rows."""
_looked_at: dict[tuple[Path, str | None], tuple[int, str]] = {}
"""Of each run and limit, how much was measured at the last look, and what was said."""


@dataclass(frozen=True)
class Sureness:
    """How far a run is from its limit.

    Attributes:
        ratios: standard error / limit, of each head under each ablation [head].
        layers: of each of these heads [head].
        n_clusters: over so many clusters.
    """

    ratios: np.ndarray
    layers: np.ndarray
    n_clusters: int

    @property
    def ratio(self) -> float:
        """What `SHARE` of the heads are below; at most 1 where they are sure enough."""
        return _quantile(self.ratios)

    @property
    def is_reached(self) -> bool:
        return self.n_clusters >= FEWEST_CLUSTERS and self.ratio <= 1

    def line(self, tokens: int, most: int) -> str:
        """How far each layer is, and the tokens probably needed; measured are `tokens`."""
        by_layer = (
            f"L{layer} {_quantile(self.ratios[self.layers == layer]):.2g}"
            for layer in np.unique(self.layers)
        )
        needed = tokens * max(1.0, self.ratio) ** 2
        if needed <= most:
            said = f"some {needed:,.0f} tokens are needed"
        else:
            said = f"more than the {most:,} tokens are needed"
        return f"standard error / limit, for {SHARE:.0%} of heads: {', '.join(by_layer)}; {said}"


def _quantile(ratios: np.ndarray) -> float:
    return float(np.quantile(ratios, SHARE, method="inverted_cdf"))


def sureness(
    rows: pa.Table, counts: NDArray[np.integer], top_fraction: float, limit: Limit
) -> Sureness:
    """How far the means over the top rows are from the limit; see `repair_errors`."""
    found = repair_errors(rows, counts, top_fraction)
    allowed = limit.value * (np.abs(found["direct_effect"]) if limit.is_share else 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where(found["n"] < 2, np.inf, found["self_repair_se"] / allowed)
    return Sureness(ratios, found["layer"], len(counts))


@lru_cache(maxsize=16)
def _floors(warehouse: Warehouse, run_id: str, clean_shards: tuple[Path, ...]) -> Floors:
    """Asked once of the same shards, whose names are of what is in them."""
    return effect_floors(warehouse, run_facts(RunFolder(warehouse, run_id)))


def sureness_of(folder: RunFolder, part: int, limit: Limit) -> Sureness:
    """The same of a part of a run."""
    clean_shards = tuple(folder.table("direct_effects").shards())
    floors = _floors(folder.warehouse, folder.run_id, clean_shards)
    rows = pa.concat_tables(
        repair_above(stored_shard(folder, "head_ablations", shard), floors)
        for shard in folder.shards
        if shard.stop <= part
    )
    documents, clusters = np.unique(folder.documents[:part, 1:], return_inverse=True)
    clusters = clusters.reshape(part, -1)
    if len(documents) < FEWEST_CLUSTERS:  # sequences, then
        clusters = np.broadcast_to(np.arange(part)[:, None], clusters.shape)
    own = clusters[rows["sequence"].to_numpy(), rows["position"].to_numpy()]
    rows = rows.append_column("cluster", pa.array(own))
    known = sureness(rows, np.bincount(clusters.ravel()), folder.spec.top_fraction, limit)
    # Of a head without a top row so far nothing is sure.
    chosen = folder.spec.chosen_heads(folder.model["n_layers"], folder.model["n_heads"])
    measured = Counter(known.layers.tolist())
    every = Counter(head.layer for head in chosen for _ in folder.spec.ablations)
    unknown = list((every - measured).elements())
    return replace(
        known,
        ratios=np.append(known.ratios, np.full(len(unknown), np.inf)),
        layers=np.append(known.layers, np.array(unknown, dtype=int)),
    )


def stop_if_sure(folder: RunFolder) -> str | None:
    """Notes that the run stops where it is sure enough; how far it is, in one line.

    Looked at again where a `PART` more is measured than the last time; the same line until then.
    None where nobody asked, or nothing is measured.
    """
    spec, key = folder.spec, (folder.path, folder.spec.until)
    part = measured_part(folder) if spec.limit else 0
    if not part or spec.limit is None:
        return None
    before, said = _looked_at.get(key, (0, ""))
    if 0 <= part - before < part // PART:
        return said
    found = sureness_of(folder, part, spec.limit)
    said = found.line(part * spec.sequence_length, spec.n_sequences * spec.sequence_length)
    if found.is_reached:
        folder.note("stopped", {"until": spec.until, "n_sequences": part})
    else:
        _looked_at[key] = part, said
    return said
