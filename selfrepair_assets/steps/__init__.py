"""The steps of a run as plain functions, a file for each asset: they measure and write shards.

Nothing here knows Dagster, and no number is computed that `measurement` does not give.
"""
