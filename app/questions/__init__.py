"""What the app asks DuckDB: each function is one query over published views, and gives its rows.

Nothing is defined here that `sql/` could define, and nothing is drawn or put into words.
"""
