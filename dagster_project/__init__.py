"""The code location: which assets, checks, jobs and resources there are, and where Dagster lives."""
