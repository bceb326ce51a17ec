"""The numerical core: torch, transformers and transformer_lens, no Dagster and no DuckDB."""
