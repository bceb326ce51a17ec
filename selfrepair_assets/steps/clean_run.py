"""The step `clean_run`: one forward pass per sequence gives three tables, and the sum of `z`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from selfrepair_assets.measurement.engine.measure import Measurer, Progress
from selfrepair_assets.measurement.text.corpus import token_texts
from selfrepair_assets.steps.run_spec import load_for
from selfrepair_assets.steps.sharded.run_folder import RunFolder
from selfrepair_assets.steps.sharded.shards import Shard
from selfrepair_assets.steps.sharded.step import Step
from selfrepair_assets.steps.sharded.stored_shards import store_shard


def predictions(folder: RunFolder, shards: Sequence[Shard]) -> int:
    """The prediction positions of some shards."""
    sequences = sum(shard.stop - shard.start for shard in shards)
    return sequences * (folder.spec.sequence_length - 1)


def measure_clean_shard(folder: RunFolder, shard: Shard, progress: Progress | None = None) -> bool:
    """Measure the clean run of a shard's sequences; False where it was there already."""
    if CLEAN_RUN.is_done(folder, shard):
        return False
    loaded = load_for(folder)
    tokens = np.asarray(folder.tokens[shard.start : shard.stop])
    facts = Measurer(loaded, folder.spec).clean(tokens, progress)
    sequence = np.arange(shard.start, shard.stop)[:, None]
    position = np.arange(tokens.shape[1] - 1)
    layer, head = np.arange(loaded.n_layers), np.arange(loaded.n_heads)
    texts = token_texts(tokens, loaded.tokenizer)
    rows = {
        "tokens": {
            "sequence": sequence,
            "position": position,
            "token": tokens[:, :-1],
            "token_text": texts[:, :-1],
            "target": tokens[:, 1:],
            "target_text": texts[:, 1:],
            "document": np.asarray(folder.documents[shard.start : shard.stop, 1:]),
            "logit": facts.logit.numpy(),
            "logit_bias": facts.logit_bias.numpy(),
            "ln_scale": facts.ln_scale.numpy(),
        },
        "mlp_effects": {
            "layer": layer[:, None, None],
            "sequence": sequence,
            "position": position,
            "direct_effect": facts.mlp_effects.numpy(),
        },
        "direct_effects": {
            "layer": layer[:, None, None, None],
            "head": head[:, None, None],
            "sequence": sequence,
            "position": position,
            "direct_effect": facts.head_effects.numpy(),
        },
    }
    for table, columns in rows.items():
        store_shard(folder, table, shard, columns)
    folder.z_sums.save(str(shard), facts.z_sum.numpy())
    return True


CLEAN_RUN = Step(
    "clean run",
    "tokens",
    ("tokens", "direct_effects", "mlp_effects"),
    measure_clean_shard,
    predictions,
    also=RunFolder.has_z_sum,
)
