"""Models: found, loaded, folded or refused, with what is odd of each family.

Nothing is measured with them here.
"""
