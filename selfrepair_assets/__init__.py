"""Measure self-repair: the numerical core (`measurement`) and the Dagster assets around it."""
