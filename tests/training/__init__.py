"""Runs of one model at several steps of its training, which the app finds by their names."""
