"""The file that readers open: how it is built of facts, served, opened, taken apart and mended.

And the files beside it that hold the rows of large runs.

Whatever opens or makes a generation lives here. It asks `facts` for a run's rows and never opens a
shard by a name of its own.
"""
