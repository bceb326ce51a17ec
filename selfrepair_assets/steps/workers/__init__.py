"""Who measures the shards of a run: this process, or workers of a Ray cluster that it asks for."""

MOST = 4096
"""Workers that can be asked for."""
