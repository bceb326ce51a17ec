"""How much disk a run needs."""

from selfrepair_assets.measurement.run_spec import RunSpec

BYTES_PER_ROW = 60
"""Of `head_ablations`: its shard, its row in the serving file, and that file's next generation."""
BYTES_AT_LEAST = 50_000_000
"""Of any run: two generations of the serving file, Dagster's history, the text."""


def bytes_needed(spec: RunSpec, n_heads: int, n_sequences: int) -> int:
    """For so many sequences of a run, of which so many heads are ablated."""
    rows = n_sequences * (spec.sequence_length - 1) * n_heads * len(spec.ablations)
    return BYTES_AT_LEAST + rows * BYTES_PER_ROW
