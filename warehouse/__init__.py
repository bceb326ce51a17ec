"""The store: folders, files and DuckDB; it knows nothing of models, of Dagster or of the app.

Two rooms: `facts` (what is measured) and `published` (what is served), which may read `facts`.
Beside this file lies only what both stand on (paths, locks, checksums, connections, how `sql/` is
read): nothing here imports a room.
"""
