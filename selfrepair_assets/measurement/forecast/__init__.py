"""What a run will take, foretold before it begins: which way, how long, how much memory and disk.

The machine is timed with the engine itself on a few layers; all the rest is counted.
"""
