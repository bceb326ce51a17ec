"""The Dagster assets, thin around `steps`; listed by name in `dagster_project/definitions.py`."""
