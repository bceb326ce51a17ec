"""The code location: the assets, checks, jobs and resources, and where Dagster lives."""
