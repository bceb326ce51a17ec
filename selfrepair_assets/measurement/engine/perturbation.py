"""The perturbation engine: ablate heads by propagating the *change* they make.

An ablated head in layer l changes nothing before l, and of the logits only the target's is
wanted. So the clean run is cached once, and for all heads of a layer stacked as rows:

1. The change of the attention output is `(z_replacement - z)_h W_O[h]`.
2. From there only the change `delta` of the residual stream travels. A linear map acts on it as
   it is, `W(x + delta) - W x = W delta`; a norm is expanded around the clean run (`norm_change`);
   attention and the MLP's activation are evaluated at the changed input and the cached clean
   value is subtracted.
3. Each layer's change, dotted with the target's direction, is the change in direct effect that
   eq. (2) of the paper sums over heads and over MLPs.
4. At the end `x + delta` gives the ablated scale `S'` and the target's logit by one dot product:

       logit_change = (delta . u_t) / S' + (x . u_t) (1/S' - 1/S)

No difference of two large numbers is taken on the way, there is no unembedding, and nothing is
copied to the host inside the loop over layers. Works on the prediction positions alone: in a
causal model the last position, which predicts nothing, changes none of the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from selfrepair_assets.measurement.engine.change import (
    CleanRun,
    block_change,
    mid_change,
    scale_change,
)
from selfrepair_assets.measurement.engine.clean_run import dot, head_effects, run_layers
from selfrepair_assets.measurement.engine.kept_details import KeptDetails, KeptRows
from selfrepair_assets.measurement.heads import Head, by_layer
from selfrepair_assets.measurement.model.folded_model import FoldedModel

ABLATION_COLUMNS = (
    "direct_effect",
    "direct_effect_ablated",
    "logit_change",
    "ln_scale_ablated",
    "self_repair_from_heads",
    "self_repair_from_mlps",
    "self_repair_from_last_mlp",
)


@dataclass(frozen=True)
class AblatedHeads:
    """The ablations of some heads of one layer.

    `columns` are (head, batch, pos - 1), float32; `details` are (row, ...) of `kept`, if some
    rows were to be kept.
    """

    ablation: str
    heads: list[Head]
    columns: dict[str, Tensor]
    kept: KeptRows | None = None
    details: dict[str, Tensor] | None = None

    def on_host(self, sequences_before: int = 0) -> AblatedHeads:
        """In the host's memory, its kept rows counted after some other sequences."""
        return AblatedHeads(
            self.ablation,
            self.heads,
            {name: column.cpu() for name, column in self.columns.items()},
            self.kept.after(sequences_before) if self.kept is not None else None,
            {name: column.cpu() for name, column in self.details.items()}
            if self.details is not None
            else None,
        )


def propagate(
    clean: CleanRun,
    ablated: Sequence[Head],
    replacement: Tensor,
    precision: str,
    details: KeptDetails | None = None,
) -> dict[str, Tensor]:
    """Ablate each of `ablated` (heads of one layer) by itself and follow the change to the logit.

    Args:
        replacement: stands in for the layer's `z`; broadcastable to (batch, pos, head, d_head).
        details: is shown each layer's changes, and keeps what it wants of the kept rows.

    Returns:
        `ABLATION_COLUMNS`, each (head, batch, pos).
    """
    model, start = clean.model, ablated[0].layer
    layer, block = clean.layers[start], model.blocks[start]
    chosen = torch.tensor([head.head for head in ablated]).to(model.device, non_blocking=True)
    u, scale = clean.direction, clean.squared_final_scale.sqrt().squeeze(-1)

    z = layer.z.unflatten(-1, (model.n_heads, model.d_head))
    z_change = (replacement - z).movedim(2, 0)[chosen]  # head batch pos d_head
    W_O = block.out.weight.view(-1, model.n_heads, model.d_head)[:, chosen]
    delta = torch.einsum("rbpe,dre->rbpd", z_change, W_O)
    effect_change = dot(delta, u)
    from_heads, from_mlps = torch.zeros_like(effect_change), torch.zeros_like(effect_change)
    from_last_mlp = torch.zeros_like(effect_change)

    for i in range(start, model.n_layers):
        layer, block = clean.layers[i], model.blocks[i]
        if i > start:
            change = block_change(model, block, layer, delta, precision)
        elif not model.parallel_attention:
            change = mid_change(model, block, layer, delta, precision)
        else:
            continue  # nothing in the ablated head's own block reads what it writes
        delta = change.resid_post
        if change.attn_out is not None:
            from_heads += dot(change.attn_out, u)
        from_last_mlp = dot(change.mlp_out, u)
        from_mlps += from_last_mlp
        if details is not None:
            details.add_layer(clean, i, change.z, change.mlp_post, from_last_mlp)

    x = clean.layers[-1].resid_post
    squared_ablated, inverse, inverse_change = scale_change(x, delta, clean.squared_final_scale)
    logit_change = dot(delta, u) * inverse.squeeze(-1) + dot(x, u) * inverse_change.squeeze(-1)
    effect = head_effects(model, model.blocks[start], clean.layers[start].z, u)
    effect = effect.movedim(-1, 0)[chosen] / scale
    return {
        "direct_effect": effect,
        "direct_effect_ablated": effect + effect_change / scale,
        "logit_change": logit_change,
        "ln_scale_ablated": squared_ablated.sqrt().squeeze(-1),
        "self_repair_from_heads": from_heads / scale,
        "self_repair_from_mlps": from_mlps / scale,
        "self_repair_from_last_mlp": from_last_mlp / scale,
    }


@torch.inference_mode()
def ablate_heads(
    model: FoldedModel,
    tokens: Tensor,
    *,
    partner_tokens: Tensor | None,
    mean_z: Tensor | None,
    heads: Sequence[Head],
    ablations: Sequence[str],
    layer_precision: Sequence[str],
    rows_at_once: int,
    kept: KeptRows | None = None,
    all_neurons: bool = False,
) -> Iterator[AblatedHeads]:
    """Ablate every head of `heads` by itself, at every position of `tokens` (batch, pos) at once.

    Args:
        partner_tokens: the sequences whose `z` replaces, (batch, pos); for `resample`.
        mean_z: the run's mean `z`, (layer, head, d_head); for `mean`.
        layer_precision: `fp32` or `bf16` for the heads of each layer.
        rows_at_once: the most `head x batch` rows propagated together.
        kept: the rows whose details are wanted; `all_neurons` instead of their summary.
    """
    clean = CleanRun.of(model, tokens)
    partner_z: list[Tensor] = []
    if "resample" in ablations:
        if partner_tokens is None:
            raise ValueError("resample ablation needs partner_tokens")
        partner_z = [layer.z for layer in run_layers(model, partner_tokens[:, :-1])]
    for ablation in ablations:
        for layer, heads_of_layer in by_layer(heads).items():
            replacement = _replacement(model, ablation, layer, partner_z, mean_z)
            at_once = max(1, rows_at_once // len(tokens))
            parts = [
                _ablate_some(
                    clean, ablation, heads_of_layer[i : i + at_once], replacement,
                    layer_precision[layer], kept, all_neurons,
                )
                for i in range(0, len(heads_of_layer), at_once)
            ]  # fmt: skip
            yield join(parts, heads_of_layer)


def _ablate_some(
    clean: CleanRun,
    ablation: str,
    heads: list[Head],
    replacement: Tensor,
    precision: str,
    kept: KeptRows | None,
    all_neurons: bool,
) -> AblatedHeads:
    """One propagation of stacked heads, with the details of their kept rows."""
    if kept is None:
        columns = propagate(clean, heads, replacement, precision)
        return AblatedHeads(ablation, heads, columns)
    indices = [head.head for head in heads]
    rows = kept.of(heads[0].layer, indices)
    details = KeptDetails.of(rows, indices, clean.model.device, all_neurons)
    columns = propagate(clean, heads, replacement, precision, details)
    scale = clean.squared_final_scale.sqrt().squeeze(-1)
    of_rows = details.columns(scale, columns["direct_effect"])
    return AblatedHeads(ablation, heads, columns, rows, of_rows)


def join(parts: Sequence[AblatedHeads], heads: list[Head], dim: int = 0) -> AblatedHeads:
    """Parts of one ablation and layer as one: of other heads (dim 0) or other sequences (dim 1)."""
    if len(parts) == 1:
        return parts[0]
    columns = {n: torch.cat([p.columns[n] for p in parts], dim) for n in parts[0].columns}
    kept = [part.kept for part in parts if part.kept is not None]  # which may be no rows
    details = [part.details for part in parts if part.details is not None]
    return AblatedHeads(
        parts[0].ablation,
        heads,
        columns,
        KeptRows.joined(kept) if kept else None,
        {n: torch.cat([d[n] for d in details]) for n in details[0]} if details else None,
    )


def _replacement(
    model: FoldedModel, ablation: str, layer: int, partner_z: list[Tensor], mean_z: Tensor | None
) -> Tensor:
    """What stands in for `z` of the layer, broadcastable to (batch, pos, head, d_head)."""
    if ablation == "resample":
        return partner_z[layer].unflatten(-1, (model.n_heads, model.d_head))
    if ablation == "zero":
        return torch.zeros((), device=model.device)
    if mean_z is None:
        raise ValueError("mean ablation needs mean_z")
    return mean_z[layer].to(model.device, torch.float32)
