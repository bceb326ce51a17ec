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

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from selfrepair_assets.measurement.clean_run import (
    LayerActivations,
    activate,
    attend,
    dot,
    head_effects,
    run_layers,
    split_heads,
    squared_scale,
)
from selfrepair_assets.measurement.folded_model import FoldedBlock, FoldedModel
from selfrepair_assets.measurement.run_spec import Head

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
    """The ablations of some heads of one layer; each column is (head, batch, pos - 1), float32."""

    ablation: str
    heads: list[Head]
    columns: dict[str, Tensor]


@dataclass(frozen=True)
class CleanRun:
    """The cached clean run that changes are measured against, at prediction positions."""

    model: FoldedModel
    layers: list[LayerActivations]
    direction: Tensor  # batch pos d_model: u_t
    squared_final_scale: Tensor  # batch pos 1: S^2

    @classmethod
    def of(cls, model: FoldedModel, tokens: Tensor) -> CleanRun:
        """Run and cache `tokens` (batch, pos); their last position is only a target."""
        layers = list(run_layers(model, tokens[:, :-1]))
        return cls(
            model=model,
            layers=layers,
            direction=model.unembedding_direction(tokens[:, 1:]),
            squared_final_scale=squared_scale(layers[-1].resid_post, model.eps),
        )


def norm_change(x: Tensor, delta: Tensor, squared: Tensor) -> Tensor:
    """`(x + delta)/S' - x/S` without cancellation.

    With `m = S'^2 - S^2 = mean(delta (2x + delta))`:

        (x + delta)/S' - x/S = delta/S' + x (1/S' - 1/S),    1/S' - 1/S = -m / (S S' (S + S'))

    Args:
        x: (batch, pos, d_model), delta: (rows, batch, pos, d_model), squared: `S^2` of x.
    """
    _, inverse, inverse_change = _scale_change(x, delta, squared)
    return (delta * inverse).addcmul_(x, inverse_change)


def _scale_change(x: Tensor, delta: Tensor, squared: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`S'^2`, `1/S'` and `1/S' - 1/S`, each with a last dimension of 1."""
    m = torch.linalg.vecdot(delta, torch.add(delta, x, alpha=2)).unsqueeze(-1).div_(x.shape[-1])
    squared_ablated = squared + m
    scale, scale_ablated = squared.sqrt(), squared_ablated.sqrt()
    inverse_change = m.neg_() / (scale * scale_ablated * (scale + scale_ablated))
    return squared_ablated, scale_ablated.reciprocal(), inverse_change


def attention_change(
    model: FoldedModel, block: FoldedBlock, layer: LayerActivations, normalized: Tensor, precision: str
) -> Tensor:
    """The change of `attn_out` for a change of the normalised input, (rows, batch, pos, d_model)."""
    rows = normalized.shape[:2]
    q, k, v = split_heads(model, block.qkv.of_change(normalized, precision))
    z = attend(
        model,
        block,
        *((change + clean).flatten(0, 1) for change, clean in ((q, layer.q), (k, layer.k), (v, layer.v))),
    )
    return block.out.of_change(z.unflatten(0, rows).sub_(layer.z), precision)


def mlp_change(
    model: FoldedModel, block: FoldedBlock, layer: LayerActivations, normalized: Tensor, precision: str
) -> Tensor:
    """The change of `mlp_out` for a change of the normalised input, (rows, batch, pos, d_model)."""
    pre = block.mlp_in.of_change(normalized, precision).add_(layer.mlp_pre)
    return block.mlp_out.of_change(activate(model, pre).sub_(layer.mlp_post), precision)


def propagate(
    clean: CleanRun, ablated: Sequence[Head], replacement: Tensor, precision: str
) -> dict[str, Tensor]:
    """Ablate each of `ablated` (heads of one layer) by itself and follow the change to the logit.

    Args:
        replacement: what stands in for the layer's `z`, broadcastable to (batch, pos, head, d_head).

    Returns:
        `ABLATION_COLUMNS`, each (head, batch, pos).
    """
    model, start = clean.model, ablated[0].layer
    layer, block = clean.layers[start], model.blocks[start]
    chosen = torch.tensor([head.head for head in ablated], device=model.device)
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
        downstream = i > start
        attn_change = None
        if downstream:
            normalized = norm_change(layer.resid_pre, delta, layer.squared_pre)
            attn_change = attention_change(model, block, layer, normalized, precision)
            from_heads += dot(attn_change, u)
        if model.parallel_attention:
            if not downstream:
                continue
            change = mlp_change(model, block, layer, normalized, precision)
            delta = delta + attn_change
        else:
            delta = delta if attn_change is None else delta.add_(attn_change)
            normalized = norm_change(layer.resid_mid, delta, layer.squared_mid)
            change = mlp_change(model, block, layer, normalized, precision)
        from_last_mlp = dot(change, u)
        from_mlps += from_last_mlp
        delta = delta.add_(change)

    x = clean.layers[-1].resid_post
    squared_ablated, inverse, inverse_change = _scale_change(x, delta, clean.squared_final_scale)
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
) -> Iterator[AblatedHeads]:
    """Ablate every head of `heads` by itself, at every position of `tokens` (batch, pos) at once.

    Args:
        partner_tokens: the sequences whose `z` replaces, (batch, pos); for `resample`.
        mean_z: the run's mean `z`, (layer, head, d_head); for `mean`.
        layer_precision: `fp32` or `bf16` for the heads of each layer.
        rows_at_once: the most `head x batch` rows propagated together.
    """
    clean = CleanRun.of(model, tokens)
    partner_z: list[Tensor] = []
    if "resample" in ablations:
        if partner_tokens is None:
            raise ValueError("resample ablation needs partner_tokens")
        partner_z = [layer.z for layer in run_layers(model, partner_tokens[:, :-1])]
    for ablation in ablations:
        for layer, heads_of_layer in _by_layer(heads).items():
            replacement = _replacement(model, ablation, layer, partner_z, mean_z)
            at_once = max(1, rows_at_once // len(tokens))
            parts = [
                propagate(clean, heads_of_layer[i : i + at_once], replacement, layer_precision[layer])
                for i in range(0, len(heads_of_layer), at_once)
            ]
            columns = {name: torch.cat([part[name] for part in parts]) for name in ABLATION_COLUMNS}
            yield AblatedHeads(ablation, heads_of_layer, columns)


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


def _by_layer(heads: Sequence[Head]) -> Mapping[int, list[Head]]:
    layers: dict[int, list[Head]] = {}
    for head in sorted(heads):
        layers.setdefault(head.layer, []).append(head)
    return layers
