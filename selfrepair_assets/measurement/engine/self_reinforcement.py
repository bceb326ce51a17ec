"""Self-reinforcing and self-repressing heads: feed a head its own output and look at it again.

To the residual stream that enters the head's layer, at one position, `scale * z_h W_O[h]` is
added (the head's own clean output there), and the head's new direct effect at that position is
measured with the clean S. Paper: section 5.3, appendix E, figures 9 and 19.

One position at a time, as the authors do, yet all positions in one pass: in a causal model a
change at position p reaches the prediction at p through p's own stream alone. So each position
attends to the *clean* keys and values of those before it and to its own changed ones:

    scores[p, j] = q'_p . k_j  (j < p),     scores[p, p] = q'_p . k'_p
    z'_p = sum_j a[p, j] v_j + a[p, p] (v'_p - v_p),     a = softmax(scores)

That is exact. A hooked run over every position by itself is the oracle in the tests.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from selfrepair_assets.measurement.engine.change import (
    CleanBlock,
    CleanRun,
    follow_block,
    scale_change,
)
from selfrepair_assets.measurement.engine.clean_run import (
    head_effects,
    pattern_of,
    shared_keys,
    split_heads,
)
from selfrepair_assets.measurement.engine.interface import on_device
from selfrepair_assets.measurement.engine.results import MeasuredHeads
from selfrepair_assets.measurement.heads import Head, by_layer
from selfrepair_assets.measurement.model.folded_model import FoldedModel


def attend_to_own_position(at: CleanBlock, qkv: Tensor) -> Tensor:
    """The change of `z` where each position sees its own change and the others clean.

    qkv: changed, (rows, batch, pos, (q k v)).
    """
    model, layer = at.model, at.layer
    _, k, v = split_heads(model, at.block, layer.qkv, layer.rotary)
    q, k_changed, v_changed = split_heads(model, at.block, qkv, layer.rotary)
    clean_k, clean_v = shared_keys(model, k), shared_keys(model, v)
    k_change, v_change = (shared_keys(model, a - b) for a, b in ((k_changed, k), (v_changed, v)))
    scores = q @ clean_k.transpose(-1, -2)
    scores.diagonal(dim1=-2, dim2=-1).add_((q * k_change).sum(-1))
    pattern = pattern_of(model, at.block, scores)
    z = pattern @ clean_v + pattern.diagonal(dim1=-2, dim2=-1).unsqueeze(-1) * v_change
    return z.transpose(-2, -3).flatten(-2) - layer.z


@torch.inference_mode()
def reinforce_heads(
    model: FoldedModel,
    tokens: Tensor,
    heads: Sequence[Head],
    scales: Sequence[float],
    rows_at_once: int,
) -> Iterator[MeasuredHeads]:
    """Feed each head of `heads` its own output at every prediction position of `tokens`.

    Args:
        tokens: (batch, pos).
        rows_at_once: the most `scale x head x batch` rows propagated together.

    Yields:
        One result per layer.
    """
    clean = CleanRun.of(model, tokens)
    for _, heads_of_layer in by_layer(heads).items():
        at_once = max(1, rows_at_once // (len(tokens) * len(scales)))
        yield MeasuredHeads.of_heads(
            [
                _reinforce(clean, heads_of_layer[i : i + at_once], scales)
                for i in range(0, len(heads_of_layer), at_once)
            ]
        )


def _reinforce(clean: CleanRun, heads: list[Head], scales: Sequence[float]) -> MeasuredHeads:
    model, start = clean.model, heads[0].layer
    layer, block = clean.layers[start], model.blocks[start]
    chosen = on_device(torch.tensor([head.head for head in heads]), model.device)
    S = clean.final_scale
    z = model.by_head(layer.z).movedim(2, 0)[chosen]
    W_O = model.by_head(block.out.weight)[:, chosen]
    output = layer.attn.through_norm(torch.einsum("rbpe,dre->rbpd", z, W_O))
    factors = on_device(torch.tensor(scales), model.device)
    delta = (factors[:, None, None, None, None] * output).flatten(0, 1)  # scale x head first

    own_change: Tensor | None = None
    for i in range(start, model.n_layers):
        change = follow_block(clean.blocks[i], delta, "fp32", False, attend_to_own_position)
        own_change = change.z if i == start else own_change
        delta = change.resid_post

    assert own_change is not None
    n = len(heads)
    u = clean.blocks[start].head_direction
    effects = head_effects(model, layer.z, u).movedim(-1, 0)[chosen] / S
    # (scale x head) batch pos head: each row's own head is the one wanted
    changes = head_effects(model, own_change, u).unflatten(0, (-1, n))
    own = changes.movedim(-1, 1)[:, chosen].diagonal(dim1=1, dim2=2).movedim(-1, 1) / S
    squared, _, _ = scale_change(clean.layers[-1].resid_post, delta, clean.squared_final_scale)
    columns = {
        "direct_effect": effects,
        "direct_effect_after": effects + own,
        "ln_scale_after": squared.sqrt().squeeze(-1).unflatten(0, (-1, n)),
    }
    return MeasuredHeads("fed", heads, columns)
