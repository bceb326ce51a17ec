"""Texts: a corpus in, sequences of tokens and their documents out.

Of a model, only the tokenizer is needed here.
"""
