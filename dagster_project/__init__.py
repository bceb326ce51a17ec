"""The code location, the console command, and where Dagster lives.

What is measured and how it is stored is not decided here.
"""
