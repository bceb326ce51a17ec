"""The step `self_reinforcement`: heads are fed multiples of their own output (section 5.3)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from selfrepair_assets.measurement.engine.measure import Measurer, Progress
from selfrepair_assets.measurement.engine.results import MeasuredHeads
from selfrepair_assets.steps.run_spec import load_for
from selfrepair_assets.steps.sharded.run_folder import RunFolder
from selfrepair_assets.steps.sharded.shards import Shard
from selfrepair_assets.steps.sharded.step import Step
from selfrepair_assets.steps.sharded.stored_shards import Columns, store_tables


def reinforcement_work(folder: RunFolder, shards: Sequence[Shard]) -> int:
    spec, model = folder.spec, folder.model
    heads = spec.reinforced_heads(model["n_layers"], model["n_heads"])
    sequences = sum(shard.stop - shard.start for shard in shards)
    positions = sequences * spec.n_reinforcement_positions
    return len(heads) * len(spec.reinforcement_scales) * positions


def measure_reinforcement_shard(
    folder: RunFolder, shard: Shard, progress: Progress | None = None
) -> bool:
    """Feed heads their own output on a shard's first tokens; False where it was there already."""
    if SELF_REINFORCEMENT.is_done(folder, shard):
        return False
    spec, loaded = folder.spec, load_for(folder)
    first = spec.n_reinforcement_positions + 1
    tokens = np.asarray(folder.tokens[shard.start : shard.stop, :first])
    heads = spec.reinforced_heads(loaded.n_layers, loaded.n_heads)
    scales = spec.reinforcement_scales
    found = Measurer(loaded, spec).reinforce(tokens, heads, scales, progress)

    def rows(part: MeasuredHeads) -> Columns:
        where = {
            "layer": np.array(part.layer),
            "head": np.array([head.head for head in part.heads])[:, None, None],
            "scale": np.array(scales, dtype=np.float32)[:, None, None, None],
            "sequence": np.arange(shard.start, shard.stop)[:, None],
            "position": np.arange(tokens.shape[1] - 1),
        }
        return where | {name: column.numpy() for name, column in part.columns.items()}

    store_tables(folder, shard, found, {"self_reinforcement": rows})
    return True


SELF_REINFORCEMENT = Step(
    "self-reinforcement",
    "head-tokens",
    ("self_reinforcement",),
    measure_reinforcement_shard,
    reinforcement_work,
)
