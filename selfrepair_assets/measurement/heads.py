"""Heads and layers as a user names them: `L10H11,L9H3` and `8:12`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from selfrepair_assets.measurement.errors import InputError


@dataclass(frozen=True, order=True)
class Head:
    """An attention head, written `L10H11`: the 12th head of the 11th layer."""

    layer: int
    head: int

    def __str__(self) -> str:
        return f"L{self.layer}H{self.head}"

    @classmethod
    def parse(cls, text: str) -> Head:
        match = re.fullmatch(r"L(\d+)H(\d+)", text.strip(), flags=re.IGNORECASE)
        if match is None:
            raise InputError(f"'{text}' is not a head. Write layer and head as in L10H11.")
        return cls(int(match[1]), int(match[2]))


def parse_heads(text: str) -> tuple[Head, ...]:
    """`"L10H11,L9H3"` to heads, sorted and without repeats."""
    return tuple(sorted({Head.parse(part) for part in text.split(",") if part.strip()}))


def by_layer(heads: Sequence[Head]) -> dict[int, list[Head]]:
    """Heads by their layer, both in order."""
    layers: dict[int, list[Head]] = {}
    for head in sorted(heads):
        layers.setdefault(head.layer, []).append(head)
    return layers


def parse_layers(text: str) -> slice | tuple[int, ...]:
    """`"8:12"` (8 to 11, as Python slices), `"-2:"` (the last two), `"3"` or `"0,5,7"`."""
    try:
        if ":" in text:
            start, stop = text.split(":")
            return slice(int(start) if start.strip() else None, int(stop) if stop.strip() else None)
        return tuple(sorted({int(part) for part in text.split(",") if part.strip()}))
    except ValueError:
        raise InputError(
            f"'{text}' is not a choice of layers. Write a range as in 8:12 (layers 8 to 11), "
            "or numbers as in 0,5,7."
        ) from None


def named_layers(option: str, text: str | None, n_layers: int) -> list[int]:
    """The layers that an option names; all where it names none."""
    chosen = parse_layers(text or ":")
    there = list(range(n_layers))
    layers = there[chosen] if isinstance(chosen, slice) else list(chosen)
    if not layers or not set(layers) <= set(there):
        raise InputError(
            f"{option} {text} names a layer that is not there: "
            f"the model has layers 0 to {n_layers - 1}."
        )
    return layers


def named_heads(
    option: str, text: str, heads: list[Head], n_layers: int, n_heads: int
) -> list[Head]:
    """The heads that an option names, all of which must be among `heads`."""
    wanted = parse_heads(text)
    for head in wanted:
        if head.layer >= n_layers or head.head >= n_heads:
            raise InputError(
                f"There is no head {head}: the model has layers 0 to {n_layers - 1} "
                f"and heads 0 to {n_heads - 1}."
            )
        if head not in heads:
            raise InputError(f"{option} {head}: that head is not among those that are ablated.")
    if not wanted:
        raise InputError(f"{option} names no head. Write heads as in L10H11,L9H3.")
    return list(wanted)
