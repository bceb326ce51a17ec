"""Which rows details are wanted of: a row is one head's ablation at one prediction position."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class KeptRows:
    """Prediction positions that details are wanted of; each array is (row), int64, on the host.

    `sequence` counts within the tokens that are measured together.
    """

    layer: np.ndarray
    head: np.ndarray
    sequence: np.ndarray
    position: np.ndarray

    @classmethod
    def none(cls) -> KeptRows:
        return cls(*(np.zeros(0, dtype=np.int64) for _ in range(4)))

    def __len__(self) -> int:
        return len(self.layer)

    def where(self, mask: np.ndarray) -> KeptRows:
        return KeptRows(self.layer[mask], self.head[mask], self.sequence[mask], self.position[mask])

    def of(self, layer: int, heads: list[int]) -> KeptRows:
        return self.where((self.layer == layer) & np.isin(self.head, heads))

    @classmethod
    def at(cls, places: Mapping[str, np.ndarray]) -> KeptRows:
        """From columns layer, head, sequence, position."""
        names = ("layer", "head", "sequence", "position")
        return cls(*(np.asarray(places[name], dtype=np.int64) for name in names))

    def of_heads(self, heads: Sequence[tuple[int, int]]) -> KeptRows:
        """The rows of some heads, given as (layer, head)."""
        wanted = {layer * 100_000 + head for layer, head in heads}
        return self.where(np.isin(self.layer * 100_000 + self.head, list(wanted)))

    def renumbered(self) -> tuple[np.ndarray, KeptRows]:
        """The sequences that have a row, and the rows with these counted from 0."""
        here, sequence = np.unique(self.sequence, return_inverse=True)
        return here, KeptRows(self.layer, self.head, sequence, self.position)

    @classmethod
    def joined(cls, parts: Sequence[KeptRows]) -> KeptRows:
        names = ("layer", "head", "sequence", "position")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    def after(self, sequences: int) -> KeptRows:
        """The same rows where `sequences` others come before their own."""
        return KeptRows(self.layer, self.head, self.sequence + sequences, self.position)

    def in_sequences(self, start: int, stop: int) -> KeptRows:
        """The rows of sequences `start` to `stop - 1`, counted from `start`."""
        some = self.where((self.sequence >= start) & (self.sequence < stop))
        return KeptRows(some.layer, some.head, some.sequence - start, some.position)
