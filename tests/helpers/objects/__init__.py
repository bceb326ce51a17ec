"""A store of objects on loopback, and workers that have no folder in common but it."""
