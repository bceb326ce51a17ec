"""The definitions of the warehouse, as data: see `warehouse/sql_files.py` for how they are read."""
