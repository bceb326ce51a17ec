"""The Dagster assets, thin around `steps`: partitions, retries, progress, what the UI shows.

What is measured, and where it is kept, is decided in `steps`.
"""
