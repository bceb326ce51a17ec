"""The perturbation engine: ablate heads by propagating the *change* they make.

An ablated head in layer l changes nothing before l, and of the logits only the target's is
wanted. So the clean run is cached once, and for all heads of a layer stacked as rows:

1. The change of the attention output is `(z_replacement - z)_h W_O[h]`; a post-norm turns it into
   the change of what the layer writes, and what its changed scale adds is a part of self-repair.
2. From there only the change `delta` of the residual stream travels. A linear map acts on it as
   it is, `W(x + delta) - W x = W delta`; a norm is expanded around the clean run (`norm_change`);
   attention and the MLP's activation are evaluated at the changed input and the cached clean
   value is subtracted.
3. Each layer's change, dotted with the target's direction, is the change in direct effect that
   eq. (2) of the paper sums over heads and over MLPs.
4. At the end `x + delta` gives the ablated scale `S'`, and the changes of 1 and 3 add up to what
   `delta` does to the target's logit:

       logit_change = (delta . u_t) / S' + (x . u_t) (1/S' - 1/S)

No difference of two large numbers is taken on the way, there is no unembedding, and nothing is
copied to the host inside the loop over layers. Works on the prediction positions alone: in a
causal model the last position, which predicts nothing, changes none of the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from selfrepair_assets.measurement.ablations import any_needs
from selfrepair_assets.measurement.engine import clean_run
from selfrepair_assets.measurement.engine.change import (
    PLAIN,
    CleanRun,
    Followed,
    Steps,
    post_norm_part,
    scale_change,
    written_change,
)
from selfrepair_assets.measurement.engine.clean_run import dot, head_effects, run_layers
from selfrepair_assets.measurement.engine.fused import fused_steps
from selfrepair_assets.measurement.engine.interface import AblationRequest, on_device, tokens_on
from selfrepair_assets.measurement.engine.kept_details import KeptDetails, answer
from selfrepair_assets.measurement.engine.results import CleanFacts, MeasuredHeads
from selfrepair_assets.measurement.engine.self_reinforcement import reinforce_heads
from selfrepair_assets.measurement.heads import Head
from selfrepair_assets.measurement.model.folded_model import FoldedModel


def propagate(
    clean: CleanRun,
    ablated: Sequence[Head],
    replacement: Tensor,
    precision: str,
    details: KeptDetails | None = None,
    steps: Steps = PLAIN,
) -> dict[str, Tensor]:
    """Ablate each of `ablated` (heads of one layer) by itself and follow the change to the logit.

    With `c_i` what layer i's attention or MLP writes and `'` for the ablated run (eq. (1), (2)):

        direct_effect_ablated  = direct_effect + (z'_h - z_h) W_O[h] . u_t / S
        self_repair_from_heads = sum over later attention layers of (c'_i - c_i) . u_t / S
        self_repair_from_mlps  = the same over later MLP layers; a sequential block's own is later

    All are with the clean S. What LayerNorm repairs is no column: it is what is left of
    `logit_change`, and follows from `ln_scale_ablated`.

    Args:
        clean: the cached run of (batch, pos) prediction positions.
        precision: `fp32`, `tf32` or `bf16`, of the products with changes.
        replacement: stands in for the layer's `z`; broadcastable to (batch, pos, head, d_head).
        details: is shown each layer's changes, and keeps what it wants of the kept rows.
        steps: how a change is followed through a block.

    Returns:
        `ABLATION_COLUMNS`, each (head, batch, pos).
    """
    model, start = clean.model, ablated[0].layer
    layer, block = clean.layers[start], model.blocks[start]
    chosen = on_device(torch.tensor([head.head for head in ablated]), model.device)
    u, scale = clean.direction, clean.final_scale

    z = model.by_head(layer.z)
    z_change = (replacement - z).movedim(2, 0)[chosen]  # head batch pos d_head
    W_O = model.by_head(block.out.weight)[:, chosen]
    before_norm = torch.einsum("rbpe,dre->rbpd", z_change, W_O)  # row batch pos d_model
    effect_change = dot(before_norm, layer.attn.through_norm(u))
    from_post_norm = post_norm_part(layer.attn, before_norm, u)
    delta = written_change(layer.attn, before_norm)
    from_heads, from_mlps = torch.zeros_like(effect_change), torch.zeros_like(effect_change)
    from_last_mlp = torch.zeros_like(effect_change)

    change: Followed | None = None
    for i in range(start, model.n_layers):
        at, neurons = clean.blocks[i], details is not None and i == model.n_layers - 1
        if i > start:
            change = steps.block(at, delta, precision, neurons)
        elif not model.parallel_attention:
            change = steps.mid(at, delta, precision, neurons)
        else:
            continue  # nothing in the ablated head's own block reads what it writes
        delta, from_last_mlp = change.resid_post, change.mlp_effect
        if change.heads_effect is not None:
            from_heads += change.heads_effect
        from_mlps += from_last_mlp
        if details is not None:
            if change.z is not None:
                details.add_heads(change.z, at.head_direction, model.n_heads)
            details.add_mlp(from_last_mlp)

    if details is not None and change is not None and change.mlp_post is not None:
        last = clean.blocks[-1]
        details.add_neurons(last.layer.mlp_post, change.mlp_post, last.neuron_direction)
    x = clean.layers[-1].resid_post
    squared_ablated, inverse, inverse_change = scale_change(x, delta, clean.squared_final_scale)
    changed = effect_change + from_post_norm + from_heads + from_mlps
    logit_change = changed * inverse.squeeze(-1) + dot(x, u) * inverse_change.squeeze(-1)
    effect = head_effects(model, layer.z, clean.blocks[start].head_direction)
    effect = effect.movedim(-1, 0)[chosen] / scale
    return {
        "direct_effect": effect,
        "direct_effect_ablated": effect + effect_change / scale,
        "logit_change": logit_change,
        "ln_scale_ablated": squared_ablated.sqrt().squeeze(-1),
        "self_repair_from_heads": from_heads / scale,
        "self_repair_from_mlps": from_mlps / scale,
        "self_repair_from_last_mlp": from_last_mlp / scale,
        "self_repair_from_post_norm": from_post_norm / scale,
    }


class PerturbationEngine:
    """An `Engine` for a model whose architecture is known: see the top of this file."""

    name = "perturbation"
    has_neurons = True

    def __init__(self, model: FoldedModel, *, fused: bool = False) -> None:
        """fused: steps in a fast precision are compiled (`fused.py`), which takes seconds once."""
        self.model = model
        self.steps = fused_steps() if fused else PLAIN

    def logits(self, tokens: Tensor) -> Tensor:
        return clean_run.logits(self.model, tokens)

    def clean_facts(self, tokens: Tensor) -> CleanFacts:
        return clean_run.clean_facts(self.model, tokens)

    @torch.inference_mode()
    def ablate_heads(
        self, request: AblationRequest, layer_precision: Sequence[str], rows_at_once: int
    ) -> Iterator[MeasuredHeads]:
        model, tokens = self.model, tokens_on(self.model.device, request.tokens)
        clean = CleanRun.of(model, tokens)
        partners: list[Tensor | None] = [None] * model.n_layers
        if any_needs(request.ablations, "partner_tokens"):
            assert request.partner_tokens is not None  # the request has looked
            others = tokens_on(model.device, request.partner_tokens)[:, :-1]
            partners = [model.by_head(layer.z) for layer in run_layers(model, others)]
        at_once = max(1, rows_at_once // len(tokens))
        for kind, heads in request.parts:
            layer = heads[0].layer
            own = model.by_head(clean.layers[layer].z)
            replacement = kind.replacement(request.layer_z(layer, own, partners[layer]))
            parts = []
            for i in range(0, len(heads), at_once):
                stacked, precision = heads[i : i + at_once], layer_precision[layer]
                details = KeptDetails.wanted(request, stacked, model.device)
                columns = propagate(clean, stacked, replacement, precision, details, self.steps)
                parts.append(answer(kind.name, stacked, columns, details, clean.final_scale))
            yield MeasuredHeads.of_heads(parts)

    def reinforce_heads(
        self, tokens: Tensor, heads: Sequence[Head], scales: Sequence[float], rows_at_once: int
    ) -> Iterator[MeasuredHeads]:
        return reinforce_heads(self.model, tokens, heads, scales, rows_at_once)

    def bytes_per_sequence(self, positions: int) -> int:
        """The cached clean run of one sequence, its directions and its partner's `z`."""
        m, block = self.model, self.model.blocks[0]
        width = 5 * m.d_model + len(block.qkv.weight) + 3 * m.n_heads * m.d_head
        return 4 * positions * m.n_layers * (width + len(block.mlp_in.weight) + 2 * m.d_mlp)

    def bytes_per_row(self, positions: int) -> int:
        """What one head of one sequence needs at the widest point of a layer."""
        m, block = self.model, self.model.blocks[0]
        return 4 * positions * (
            6 * m.d_model + 4 * len(block.qkv.weight) + 3 * len(block.mlp_in.weight)
        )  # fmt: skip
