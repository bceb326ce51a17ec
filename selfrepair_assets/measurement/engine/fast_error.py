"""What a fast precision costs: its error on what was measured both ways, and who may pay it.

Of the rows (ablations) of a layer that were measured in fp32 and in a fast precision (tf32, bf16,
or bf16_fp32 where bf16 is too coarse) the error is

    ||logit_change(fast) - logit_change(fp32)|| / ||logit_change(fp32)||

What is kept of such rows are the sums of the two squares, so that what was seen at different times
adds up to what was seen at all: float64 [ablation layer 2], `Squares`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from selfrepair_assets.measurement.heads import Head, by_layer

ERROR_BOUND = {"tf32": 2.5e-3, "bf16": 1e-2}
"""The largest error of a layer over a whole run that a fast precision may make."""
CHOSEN_BELOW, LEFT_ABOVE = 0.85, 0.95
"""Shares of the bound: a layer is measured in the fast precision if the error that the sample shows
is below the first, and until what is seen of the run is above the second. What lies between them
and the bound is for what a sample does not show."""
HEADS_IN_SAMPLE = 3
"""Heads of each layer that are measured both ways before a run."""
WATCHED_SHARE = 1 / 64
"""Of a layer's rows (heads x sequences) in a shard: those that are measured both ways."""

Squares = np.ndarray
Sampled = Mapping[str, Squares]  # by fast precision, the fastest first


class LayerPrecision(NamedTuple):
    """Per layer `fp32` or a fast precision, and its error as far as it was seen (None: not)."""

    layers: list[str]
    errors: list[float | None]

    @classmethod
    def fp32(cls, n_layers: int) -> LayerPrecision:
        """Of a run in which no other is asked for, or to be had."""
        return cls(["fp32"] * n_layers, [None] * n_layers)

    @property
    def tag(self) -> str | None:
        """What the shards carry that were measured so; None where it cannot be otherwise."""
        return None if set(self.errors) == {None} else ",".join(self.layers)


def squares(
    exact: Mapping[tuple[str, int], np.ndarray],
    fast: Mapping[tuple[str, int], np.ndarray],
    ablations: Sequence[str],
    n_layers: int,
) -> Squares:
    """The squares of some changes, by ablation and layer; 0 where nothing was measured."""
    seen = np.zeros((len(ablations), n_layers, 2))
    for (ablation, layer), change in exact.items():
        error = fast[ablation, layer].astype(np.float64) - change
        of = seen[ablations.index(ablation), layer]
        of += (error**2).sum(), (change.astype(np.float64) ** 2).sum()
    return seen


def relative_error(seen: Squares) -> list[float | None]:
    """Per layer the error, the worst over the ablations; None where nothing was seen."""
    errors: list[float | None] = []
    for error, change in np.moveaxis(seen, (1, 2), (0, 1)):
        ratios = np.sqrt(error[change != 0] / change[change != 0])
        errors.append(float(ratios.max()) if ratios.size else None)
    return errors


def chosen(sample: Sampled, asked: str) -> LayerPrecision:
    """The first choice, by what a sample shows of the fast precisions before the run.

    A layer gets the first that keeps the bound of the one asked for, else fp32 with the last error.
    """
    below = CHOSEN_BELOW * ERROR_BOUND[asked]
    layers, errors = [], []
    for of_layer in zip(*map(relative_error, sample.values()), strict=True):
        found, error = "fp32", of_layer[-1]
        for fast, seen in zip(sample, of_layer, strict=True):
            if seen is not None and seen <= below:
                found, error = fast, seen
                break
        layers.append(found)
        errors.append(error)
    return LayerPrecision(layers, errors)


def kept(sample: Sampled, watched: Iterable[Squares | None], asked: str) -> LayerPrecision:
    """The choice after what was seen of the run.

    A layer that leaves the bound stays in fp32, with the error by which it left.

    Args:
        watched: what was seen of each shard, in the shards' order, up to the first that is None:
            so the choice is the same in whichever order the shards were measured. Each layer's is
            of the precision that the sample chose.
    """
    first = chosen(sample, asked)
    layers, errors = list(first.layers), list(first.errors)
    last = [*sample.values()][-1]
    seen = np.stack([sample.get(fast, last)[:, i] for i, fast in enumerate(layers)], axis=1)
    for of_shard in watched:
        if of_shard is None:
            break
        seen = seen + of_shard
        for layer, error in enumerate(relative_error(seen)):
            if layers[layer] != "fp32":
                errors[layer] = error
                if error is None or not error <= LEFT_ABOVE * ERROR_BOUND[asked]:
                    layers[layer] = "fp32"
    return LayerPrecision(layers, errors)


def sampled_heads(heads: Sequence[Head]) -> list[Head]:
    """Some heads of each layer, evenly spread."""
    return [h for of in by_layer(heads).values() for h in of[:: -(-len(of) // HEADS_IN_SAMPLE)]]


def watched_sequences(shard: int, n_sequences: int) -> list[int]:
    """Which of a shard's sequences are watched, evenly spread: one at least.

    They take turns, as heads do (`watched_heads`).
    """
    n = max(1, round(WATCHED_SHARE * n_sequences))
    return sorted({(shard + i * n_sequences // n) % n_sequences for i in range(n)})


def watched_heads_of(n: int, n_sequences: int) -> int:
    """How many of a layer's n heads are watched in a shard: one at least."""
    return min(n, max(1, round(WATCHED_SHARE * n * n_sequences)))


def watched_heads(
    heads: Sequence[Head], layers: Sequence[str], shard: int, n_sequences: int
) -> list[Head]:
    """The heads of each layer not in fp32 that are watched in some of a shard's sequences.

    They take turns, so that each is watched in the course of a run.

    Args:
        shard: the shard's number.
        n_sequences: how many sequences it has.
    """
    found = []
    for layer, of_layer in by_layer(heads).items():
        n = len(of_layer)
        wanted = watched_heads_of(n, n_sequences)
        if layers[layer] != "fp32":
            found += [of_layer[(shard * wanted + i) % n] for i in range(wanted)]
    return sorted(found)
