"""Measuring: the numbers, the steps of a run and their Dagster assets; nothing is analysed here."""
