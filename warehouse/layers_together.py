"""How many layers and heads of a run a query takes together.

A query that names `$first_layer` and `$last_layer` runs once for as many layers as have
ROWS_AT_ONCE rows, at least one, which bounds its memory; one that names `$first_head` and
`$last_head` as well, once for as many heads of a layer, where one layer has more.
"""

from collections.abc import Collection, Iterator

LAYERS, HEADS = ("first_layer", "last_layer"), ("first_head", "last_head")
ROWS_AT_ONCE = 4_000_000
"""Rows of `head_ablations` that a query takes together: it keeps some 100 MB of them.

Each query takes some 25 ms by itself, and half a second where a million tokens are joined."""


def taken_together(
    named: Collection[str], n_layers: int, n_heads: int, rows_of_head: int
) -> list[dict[str, int]]:
    """The layers and heads of each query, by parameter; one empty entry where it names none.

    Args:
        named: the query's parameters.
        rows_of_head: how many rows of each head the query reads.
    """
    if not set(named).issuperset(LAYERS):
        return [{}]
    heads_at_once = ROWS_AT_ONCE // max(1, rows_of_head)
    layers = list(_ranges(LAYERS, n_layers, heads_at_once // max(1, n_heads)))
    if not set(named).issuperset(HEADS):
        return layers
    heads = list(_ranges(HEADS, n_heads, heads_at_once))
    return [one | some for one in layers for some in heads]


def _ranges(names: tuple[str, str], n: int, at_once: int) -> Iterator[dict[str, int]]:
    """The first and last of so many layers or heads, one at least, again and again."""
    at_once = max(1, at_once)
    for first in range(0, n, at_once):
        yield dict(zip(names, (first, min(first + at_once, n) - 1), strict=True))
