"""Families of models, each as a reading of its weights into the one frame of `folded_model.py`.

What tells families apart lives here, and no arithmetic of the engine does.
"""
