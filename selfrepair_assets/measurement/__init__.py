"""The numerical core: what a run is asked, its model, its text, and its numbers as arrays.

It may use torch, transformers and transformer_lens; no Dagster, no DuckDB, no warehouse.
"""
