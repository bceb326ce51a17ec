"""`--until`: a run that is measured until its means are sure enough, and no longer.

1. After each shard, the standard error of mean self-repair on the top rows is known of every head
   and ablation, over the run's first shards (specification, section 6: the formula for given rows,
   which is right for self-repair within 4 %).
2. Where it is at most the limit for `SHARE` of them, and there are `FEWEST_CLUSTERS` clusters, the
   run stops; what there is of it is its result.
3. Errors fall as the root of the number of tokens, which says how many are probably needed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from selfrepair.warehouse.facts.top_rows import repair_at_top_rows
from selfrepair_assets.measurement.options import Limit
from selfrepair_assets.steps.parts import measured_part
from selfrepair_assets.steps.sharded.run_folder import RunFolder
from selfrepair_assets.steps.sharded.stored_shards import stored_shard

SHARE = 0.95
"""Of the heads, under each ablation, so many must be sure enough."""
FEWEST_CLUSTERS = 10
"""Fewer say too little of how much clusters differ."""

Rows = dict[str, np.ndarray]
"""Top rows: ablation, layer, head, cluster, direct_effect, self_repair; columns of one length."""


@dataclass(frozen=True)
class Sureness:
    """How far a run is from its limit.

    Attributes:
        ratios: standard error / limit, of each head and ablation [head].
        heads: number of the ablation, layer and head of each: [3 head].
        n_clusters: over so many clusters.
    """

    ratios: np.ndarray
    heads: np.ndarray
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
        layers = self.heads[1]
        by_layer = (
            f"L{layer} {_quantile(self.ratios[layers == layer]):.2g}" for layer in np.unique(layers)
        )
        needed = tokens * max(1.0, self.ratio) ** 2
        if needed <= most:
            said = f"some {needed:,.0f} tokens are needed"
        else:
            said = f"more than the {most:,} tokens are needed"
        return f"standard error / limit, for {SHARE:.0%} of heads: {', '.join(by_layer)}; {said}"


def _quantile(ratios: np.ndarray) -> float:
    return float(np.quantile(ratios, SHARE, method="inverted_cdf"))


def sureness(rows: Rows, n_clusters: int, limit: Limit) -> Sureness:
    """The standard errors of mean self-repair over given rows, as shares of the limit.

    m = sum x / n, e_g = sum over i in g of (x_i - m), se = sqrt(G / (G - 1) * sum e_g^2) / n.

    n_clusters: G, those without a top row included.
    """
    heads, head = np.unique(
        np.stack([rows[name] for name in ("ablation", "layer", "head")]),
        axis=1,
        return_inverse=True,
    )
    head = head.reshape(-1)
    n = np.bincount(head)
    mean, effect = (np.bincount(head, rows[name]) / n for name in ("self_repair", "direct_effect"))
    size = rows["cluster"].max(initial=0) + 1
    cells, cell = np.unique(head * size + rows["cluster"], return_inverse=True)
    excess = np.bincount(cell, rows["self_repair"] - mean[head])
    squares = np.bincount(cells // size, excess**2)
    error = np.sqrt(n_clusters / max(n_clusters - 1, 1) * squares) / n
    error[n < 2] = np.inf
    allowed = limit.value * (np.abs(effect) if limit.is_share else 1.0)
    with np.errstate(divide="ignore"):
        return Sureness(error / allowed, heads, n_clusters)


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
    targets = np.asarray(folder.documents[:part, 1:])
    n_documents = len(np.unique(targets))
    by_document = n_documents >= FEWEST_CLUSTERS
    of_row = targets[rows["sequence"], rows["position"]] if by_document else rows["sequence"]
    numbers = {name: number for number, name in enumerate(folder.spec.ablations)}
    rows["ablation"] = np.array([numbers[name] for name in rows["ablation"]], dtype=int)
    known = sureness(rows | {"cluster": of_row}, n_documents if by_document else part, limit)
    # Of a head without a top row so far nothing is sure.
    chosen = folder.spec.chosen_heads(folder.model["n_layers"], folder.model["n_heads"])
    every = {(n, head.layer, head.head) for n in numbers.values() for head in chosen}
    unknown = sorted(every - set(zip(*known.heads.tolist(), strict=True)))
    if not unknown:
        return known
    return replace(
        known,
        ratios=np.concatenate([known.ratios, np.full(len(unknown), np.inf)]),
        heads=np.concatenate([known.heads, np.array(unknown).T], axis=1),
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
