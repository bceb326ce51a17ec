"""`--until`: a run that is measured until its means are sure enough, and no longer.

1. After each shard, the standard error of mean self-repair on the top rows is known of every head
   and ablation, over the run's first shards (specification, section 6: the formula for given rows,
   which is right for self-repair within 4 %).
2. Where it is at most the limit for `SHARE` of them, and there are `FEWEST_CLUSTERS` clusters, the
   run stops; what there is of it is its result.
3. Errors fall as the root of the number of tokens, which says how many are probably needed.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np

from selfrepair.warehouse.facts.top_rows import Places, repair_at_top_rows, repair_errors
from selfrepair_assets.measurement.options import Limit
from selfrepair_assets.steps.parts import measured_part
from selfrepair_assets.steps.sharded.run_folder import RunFolder
from selfrepair_assets.steps.sharded.stored_shards import stored_shard

SHARE = 0.95
"""Of the heads, under each ablation, so many must be sure enough."""
FEWEST_CLUSTERS = 10
"""Fewer say too little of how much clusters differ."""


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


def sureness(rows: Places, n_clusters: int, limit: Limit) -> Sureness:
    """How far the means over given rows are from the limit (`repair_errors`)."""
    found = repair_errors(rows, n_clusters)
    allowed = limit.value * (np.abs(found["direct_effect"]) if limit.is_share else 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where(found["n"] < 2, np.inf, found["self_repair_se"] / allowed)
    return Sureness(ratios, found["layer"], n_clusters)


def sureness_of(folder: RunFolder, part: int, limit: Limit) -> Sureness:
    """The same of the top rows of a part of a run."""
    found = [
        repair_at_top_rows(
            stored_shard(folder, "head_ablations", shard),
            stored_shard(folder, "component_changes", shard),
        )
        for shard in folder.shards
        if shard.stop <= part
    ]
    rows = {name: np.concatenate([part[name] for part in found]) for name in found[0]}
    documents, numbers = np.unique(folder.documents[:part, 1:], return_inverse=True)
    if len(documents) >= FEWEST_CLUSTERS:
        numbers = numbers.reshape(part, -1)[rows["sequence"], rows["position"]]
        known = sureness(rows | {"cluster": numbers}, len(documents), limit)
    else:
        known = sureness(rows | {"cluster": rows["sequence"]}, part, limit)
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

    None where nobody asked, or nothing is measured.
    """
    spec = folder.spec
    part = measured_part(folder) if spec.limit else 0
    if not part or spec.limit is None:
        return None
    found = sureness_of(folder, part, spec.limit)
    if found.is_reached:
        folder.note("stopped", {"until": spec.until, "n_sequences": part})
    return found.line(part * spec.sequence_length, spec.n_sequences * spec.sequence_length)
