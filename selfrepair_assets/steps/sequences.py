"""The step `sequences`: what the run is measured on, sequence by sequence."""

from __future__ import annotations

import numpy as np

from selfrepair_assets.steps.sharded.run_folder import RunFolder
from selfrepair_assets.steps.sharded.stored_shards import collect, shard_is_done, store_shard


def store_sequences(folder: RunFolder) -> int:
    """Write the `sequences` table: each sequence, its resampling partner, and its documents."""
    partners, names = np.array(folder.spec.resample_partners()), folder.document_names
    for shard in folder.shards:
        if not shard_is_done(folder, "sequences", shard):
            own = slice(shard.start, shard.stop)
            documents = [list(dict.fromkeys(row.tolist())) for row in folder.documents[own, 1:]]
            columns = {
                "sequence": np.arange(shard.start, shard.stop),
                "resample_partner": partners[own],
                "document_numbers": documents,
                "document_names": [[names[d] for d in row] for row in documents],
            }
            store_shard(folder, "sequences", shard, columns)
    return collect(folder, "sequences")
