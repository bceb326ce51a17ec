"""The file that readers open: how it is built of facts, served, opened, taken apart and mended.

Whatever opens or makes a generation lives here. It asks `facts` for a run's rows and never opens a
shard by a name of its own.
"""
