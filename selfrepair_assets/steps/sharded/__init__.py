"""What all steps stand on: the run's folder, how it is cut in shards, and who measures these.

No step lives here, and nothing here knows which steps there are.
"""
