"""How the app says things: names, numbers, kinds of heads, the glossary and its examples.

Words only: nothing here draws, and what a number means is for `sql/` to define.
"""
