"""A run while it is measured: its plan, its shards, which of them count, and questions to them.

All that reads or writes a shard or a manifest lives here. Nothing here knows of the published file.
"""
