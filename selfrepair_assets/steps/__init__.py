"""The steps of a run as plain functions, a file for each asset: they measure and write shards.

What they stand on (the run's folder, its shards, who measures these) is the room `sharded`. Nothing
here knows Dagster, and no number is computed that `measurement` does not give.
"""
