"""Which component and which neuron repaired how much: kept only where the analyses look.

The rows are a head's top fraction, chosen by SQL before the ablation. On them, the change in
direct effect of every downstream head and MLP layer (eq. (2) of the paper, before the sums), and
of the last MLP layer's neurons (section 4):

    direct_effect of neuron n = act_n (W_out[n] . u_t) / S          [logits]

`u_t` through `W_O` and through the last `W_out` is one product per token, shared by all heads, so
that a kept row costs one element-wise product.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from selfrepair_assets.measurement.engine.interface import AblationRequest, on_device
from selfrepair_assets.measurement.engine.results import KeptRows, MeasuredHeads
from selfrepair_assets.measurement.heads import Head

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
    def wanted(
        cls, request: AblationRequest, heads: Sequence[Head], device: torch.device
    ) -> KeptDetails | None:
        """For stacked heads of one layer; None where the request wants no details."""
        if request.kept is None:
            return None
        rows = request.kept.of_heads(heads)
        stacked = np.searchsorted(np.array([head.head for head in heads]), rows.head)
        r, b, p = (
            on_device(torch.from_numpy(np.ascontiguousarray(index)), device)
            for index in (stacked, rows.sequence, rows.position)
        )
        return cls(rows, (r, b, p), request.all_neurons)

    def add_heads(self, z: Tensor, directions: Tensor, n_heads: int) -> None:
        """A later layer's change of z, (rows, batch, pos, (head d_head)), its heads' effects.

        directions: `u_t` through each head's `W_O`, (batch, pos, (head d_head)).
        """
        _, b, p = self.at
        effects = z[self.at] * directions[b, p]
        self.head_changes.append(effects.unflatten(-1, (n_heads, -1)).sum(-1))

    def add_head_effects(self, effects: Tensor) -> None:
        """The same from the effects themselves, (rows, batch, pos, head), not yet divided by S."""
        self.head_changes.append(effects[self.at])

    def add_mlp(self, effect: Tensor) -> None:
        """A later MLP layer's change in direct effect, (rows, batch, pos), not yet divided by S."""
        self.mlp_changes.append(effect[self.at])

    def add_neurons(self, post: Tensor, change: Tensor, direction: Tensor) -> None:
        """The last layer's neurons: clean (batch, pos, d_mlp), change (rows, batch, pos, d_mlp).

        direction: `u_t` through `W_out`, (batch, pos, d_mlp).
        """
        _, b, p = self.at
        through = direction[b, p]
        self.neurons = (post[b, p] * through, change[self.at] * through)

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


def answer(
    ablation: str,
    heads: list[Head],
    columns: dict[str, Tensor],
    details: KeptDetails | None,
    scale: Tensor,
) -> MeasuredHeads:
    """The ablation of stacked heads with the details that were wanted; scale: the clean S."""
    if details is None:
        return MeasuredHeads(ablation, heads, columns)
    of_rows = details.columns(scale, columns["direct_effect"])
    return MeasuredHeads(ablation, heads, columns, details.rows, of_rows)


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
    points = on_device(torch.tensor(curve_counts(n)), change.device)
    bounds = on_device(torch.tensor(NEGLIGIBLE), change.device) * effect.abs()[:, None]
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
