"""The measuring itself: a loaded model and tokens in, numbers per token and head out.

Nothing is read from a hub or a disk here, and no text is known.
"""
