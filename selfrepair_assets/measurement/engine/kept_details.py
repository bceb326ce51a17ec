"""Which component and which neuron repaired how much: kept only where the analyses look.

The rows are a head's top fraction, chosen by SQL before the ablation. On them, the change in
direct effect of every downstream head and MLP layer (eq. (2) of the paper, before the sums), and
of the last MLP layer's neurons (section 4):

    direct_effect of neuron n = act_n (W_out[n] . u_t) / S          [logits]

`u_t` through `W_O` and through the last `W_out` is one product per token, shared by all heads, so
that a kept row costs one element-wise product.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from selfrepair_assets.measurement.engine.change import CleanRun

TOP_NEURONS = 50
"""Neurons kept of a row, the most repairing first (Fig. 8 shows as many)."""
NEGLIGIBLE = (1e-4, 1e-3, 1e-2, 1e-1)
"""Shares of the head's direct effect below which a neuron's change is counted as negligible."""


def curve_counts(n: int) -> list[int]:
    """Numbers of neurons, of n in order of repair, at which the cumulative share is kept.

    Every hundredth of the neurons, and each of the last `TOP_NEURONS` (the curve is steep at both
    ends, Fig. 12-15). What the first ones have follows from the neurons that are kept. The macro
    cumulative_share_counts has the same numbers; n = 0 has but 0.
    """
    hundredths = {round(Fraction(i * n, 100)) for i in range(101)}
    return sorted(hundredths | set(range(max(0, n - TOP_NEURONS), n + 1)))


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


@dataclass
class KeptDetails:
    """Gathers the details of one layer's kept rows while their changes are propagated.

    Attributes:
        rows: all of one layer.
        at: their (stacked ablation, batch, pos), int64 on the device.
        all_neurons: keep every neuron instead of the `TOP_NEURONS` and the summary.
    """

    rows: KeptRows
    at: tuple[Tensor, Tensor, Tensor]
    all_neurons: bool = False
    head_changes: list[Tensor] = field(default_factory=list)
    mlp_changes: list[Tensor] = field(default_factory=list)
    neurons: tuple[Tensor, Tensor] | None = None  # clean, change: (row, d_mlp)

    @classmethod
    def of(
        cls, rows: KeptRows, heads: list[int], device: torch.device, all_neurons: bool
    ) -> KeptDetails:
        """For the stacked `heads` of a layer; indices go to the device without waiting for it."""
        stacked = np.searchsorted(np.array(heads), rows.head)
        r, b, p = (
            torch.from_numpy(np.ascontiguousarray(index)).to(device, non_blocking=True)
            for index in (stacked, rows.sequence, rows.position)
        )
        return cls(rows, (r, b, p), all_neurons)

    def add_layer(
        self, clean: CleanRun, i: int, z: Tensor | None, mlp_post: Tensor, mlp_effect: Tensor
    ) -> None:
        """Layer i's changes of z and mlp_post, (rows, batch, pos, ...); mlp_effect as below."""
        model, (r, b, p) = clean.model, self.at
        if z is not None:
            effects = z[r, b, p] * clean.head_directions[i][b, p]
            self.head_changes.append(effects.unflatten(-1, (model.n_heads, model.d_head)).sum(-1))
        self.mlp_changes.append(mlp_effect[r, b, p])
        if i == model.n_layers - 1:
            direction = clean.neuron_direction[b, p]
            clean_effect = clean.layers[i].mlp_post[b, p] * direction
            self.neurons = (clean_effect, mlp_post[r, b, p] * direction)

    def add_effects(self, heads: Tensor | None, mlp_effect: Tensor) -> None:
        """A layer's changes in direct effect: (rows, batch, pos, head) and (rows, batch, pos)."""
        if heads is not None:
            self.head_changes.append(heads[self.at])
        self.mlp_changes.append(mlp_effect[self.at])

    def add_neurons(self, clean: Tensor, change: Tensor) -> None:
        """The last layer's neurons' direct effect and its change, (rows, batch, pos, d_mlp)."""
        self.neurons = (clean[self.at], change[self.at])

    def columns(self, scale: Tensor, effect: Tensor) -> dict[str, Tensor]:
        """The details in logits, each (row, ...).

        Args:
            scale: the clean S, (batch, pos), by which all effects are divided here.
            effect: the ablated heads' clean direct effect, (rows, batch, pos).
        """
        _, b, p = self.at
        inverse = scale[b, p].reciprocal()[:, None]  # row 1
        nothing = inverse[:, :0]
        mlps = [change[:, None] for change in self.mlp_changes]
        columns = {
            "head_changes": torch.cat([nothing, *self.head_changes], 1) * inverse,
            "mlp_changes": torch.cat([nothing, *mlps], 1) * inverse,
        }
        neurons, change = (part * inverse for part in self.neurons or (nothing, nothing))
        if self.all_neurons:
            return columns | {"direct_effects": neurons, "direct_effects_ablated": neurons + change}
        return columns | summarize_neurons(neurons, change, effect[self.at])


def summarize_neurons(clean: Tensor, change: Tensor, effect: Tensor) -> dict[str, Tensor]:
    """The most repairing neurons of each row, and what the curves over all of them need.

    A neuron repairs by `change * sign(effect)`: it makes up for what the ablated head did.

    Args:
        clean, change: direct effect of every neuron and its change, (row, d_mlp).
        effect: the ablated head's clean direct effect, (row).
    """
    n = change.shape[1]
    sign = torch.where(effect < 0, -1.0, 1.0)[:, None]
    order = (change * sign).argsort(dim=1, descending=True, stable=True)
    top = order[:, :TOP_NEURONS].clone()  # a view would keep all of `order` in memory
    size = change.abs()
    total = size.sum(1, keepdim=True)
    reached = torch.cat([torch.zeros_like(total), size.gather(1, order).cumsum(1)], 1)
    points = torch.tensor(curve_counts(n), device=change.device)
    bounds = torch.tensor(NEGLIGIBLE, device=change.device) * effect.abs()[:, None]
    return {
        "neurons": top,
        "direct_effects": clean.gather(1, top),
        "direct_effects_ablated": (clean + change).gather(1, top),
        "net_change": change.sum(1),
        "positive_change": change.clamp_min(0).sum(1),
        "absolute_change": total.squeeze(1),
        "negligible_counts": torch.stack(
            [(size < bound[:, None]).sum(1) for bound in bounds.unbind(1)], 1
        ),
        "cumulative_share": reached[:, points] / total.clamp_min(1e-30),
    }
