"""The console command `selfrepair`: arguments in, lines out.

The work itself is done by the assets and the warehouse.
"""
