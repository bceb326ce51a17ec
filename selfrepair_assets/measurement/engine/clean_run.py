"""The clean run: a folded model's forward pass, layer by layer, and every direct effect in it.

    direct_effect(component with output c) = c . u_t / S            [logits]
    logit = (x . u_t) / S + logit_bias                              [logits]

`u_t` the target's unembedding direction, `x` the last residual stream and `S = ln_scale(x)` its
norm. A head's `c` is its slice of `z` through its slice of `W_O`. Paper: section 2.1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention

from selfrepair_assets.measurement.engine.results import CleanFacts
from selfrepair_assets.measurement.model.folded_model import FoldedBlock, FoldedModel

CPU_POSITIONS = 16
"""Positions that torch's fused attention takes at once on a CPU. Those left over cost it more than
positions of zeros do, so that 127 take a third longer than 128."""


@dataclass(frozen=True)
class Written:
    """What attention or MLP write to the residual stream, perhaps through a post-norm.

    `out = gamma before / S_post` with `S_post = ln_scale(before)`, or just `before`.
    """

    out: Tensor  # batch pos d_model
    before: Tensor  # batch pos d_model
    squared: Tensor | None  # batch pos 1: S_post^2
    gamma: Tensor | None  # d_model

    @classmethod
    def of(cls, before: Tensor, gamma: Tensor | None, eps: float) -> Written:
        if gamma is None:
            return cls(before, before, None, None)
        squared = squared_scale(before, eps)
        return cls(before * squared.rsqrt() * gamma, before, squared, gamma)

    def through_norm(self, part: Tensor) -> Tensor:
        """What a part of `before` (..., batch, pos, d_model) adds to `out`, by the clean scale.

        A direction `u` is seen from before the post-norm in the same way: the map is diagonal. It
        may have the first positions alone.
        """
        if self.squared is None or self.gamma is None:
            return part
        return part * self.gamma * self.squared.rsqrt()[:, : part.shape[-2]]


Rotary = tuple[Tensor, Tensor]
"""Cosines and sines of a rotary embedding, each (pos, rotary_dim / 2)."""


@dataclass(frozen=True)
class LayerActivations:
    """One layer of the clean run. `batch pos` first, except the rotary embedding's."""

    resid_pre: Tensor  # batch pos d_model
    squared_pre: Tensor  # batch pos 1: S^2 of resid_pre
    resid_mid: Tensor  # batch pos d_model: what the MLP's norm reads (parallel block: resid_pre)
    squared_mid: Tensor  # batch pos 1: S^2 of resid_mid
    qkv: Tensor  # batch pos (q k v): before norms and rotary embedding
    rotary: Rotary | None
    z: Tensor  # batch pos (head d_head)
    attn: Written
    mlp_pre: Tensor  # batch pos d_mlp, gated: gate, then up (2 d_mlp)
    mlp_post: Tensor  # batch pos d_mlp
    mlp: Written
    resid_post: Tensor  # batch pos d_model


def squared_scale(x: Tensor, eps: float) -> Tensor:
    """`S^2 = mean(x^2) + eps` over d_model, kept as a last dimension of 1."""
    return x.square().mean(-1, keepdim=True).add_(eps)


def dot(change: Tensor, direction: Tensor) -> Tensor:
    """`(... batch pos d) . (batch pos d)` over the last dimension."""
    return torch.linalg.vecdot(change, direction)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """The rotary embedding on the first `2 half` of `(..., head, pos, d_head)`; linear in x.

    `cos`, `sin`: (pos, half).
    """
    half = cos.shape[-1]
    first, second = x[..., :half], x[..., half : 2 * half]
    return torch.cat(
        [first * cos - second * sin, second * cos + first * sin, x[..., 2 * half :]], dim=-1
    )


def split_heads(
    model: FoldedModel, block: FoldedBlock, qkv: Tensor, rotary: Rotary | None
) -> tuple[Tensor, Tensor, Tensor]:
    """`(..., pos, (q k v))` to normed, rotated q, k and v of shape `(..., head, pos, d_head)`."""
    heads, groups = model.n_heads, model.n_key_value_heads
    x = qkv.unflatten(-1, (heads + 2 * groups, model.d_head))
    qk, v = x[..., : heads + groups, :], x[..., heads + groups :, :]
    if block.q_norm is not None and block.k_norm is not None:
        q, k = qk[..., :heads, :], qk[..., heads:, :]
        qk = torch.cat([_normed(model, q, block.q_norm), _normed(model, k, block.k_norm)], -2)
    qk, v = qk.transpose(-2, -3), v.transpose(-2, -3)
    if rotary is not None:
        qk = rotate(qk, *rotary)
    return qk[..., :heads, :, :], qk[..., heads:, :, :], v


def _normed(model: FoldedModel, x: Tensor, weight: Tensor) -> Tensor:
    """`w x / ln_scale(x)` of (..., head, d_head), each head by itself or all together."""
    squared = x.square().mean(-1 if model.head_norm else (-1, -2), keepdim=True).add_(model.eps)
    return x * squared.rsqrt() * weight


def hidden_keys(block: FoldedBlock, positions: int, device: torch.device) -> Tensor:
    """(query, key): True where the key is after the query, or before its window."""
    hidden = torch.ones(positions, positions, dtype=torch.bool, device=device).triu(1)
    if block.window is not None and block.window < positions:
        hidden |= torch.ones_like(hidden).tril(-block.window)
    return hidden


def pattern_of(model: FoldedModel, block: FoldedBlock, scores: Tensor) -> Tensor:
    """Attention pattern of `q k'`, (..., head, query, key); reuses its memory."""
    positions = scores.shape[-1]
    scores = scores.mul_(model.attention_scale)
    if model.attention_cap is not None:
        scores = scores.div_(model.attention_cap).tanh_().mul_(model.attention_cap)
    if model.position_bias is not None:
        scores = scores.add_(model.position_bias(positions)[:, None])
    hidden = hidden_keys(block, positions, scores.device)
    return scores.masked_fill_(hidden, -torch.inf).softmax(-1)


def shared_keys(model: FoldedModel, x: Tensor) -> Tensor:
    """Keys or values (..., group, pos, d_head), one for each head that shares them."""
    share = model.n_heads // model.n_key_value_heads
    return x if share == 1 else x.repeat_interleave(share, dim=-3)


def attend(model: FoldedModel, block: FoldedBlock, qkv: Tensor, rotary: Rotary | None) -> Tensor:
    """`z = softmax(scale q k' + bias + mask) v`: rows pos (q k v) to rows pos (head d_head).

    On a CPU positions of zeros fill up the last `CPU_POSITIONS`: no position before sees them.
    """
    there = qkv.shape[-2]
    if model.attention_cap is not None:  # which torch's fused attention does not know
        q, k, v = split_heads(model, block, qkv, rotary)
        pattern = pattern_of(model, block, q @ shared_keys(model, k).transpose(-1, -2))
        return (pattern @ shared_keys(model, v)).transpose(1, 2).flatten(2)
    if qkv.device.type == "cpu":
        qkv, rotary = filled_up(qkv), rotary and (filled_up(rotary[0]), filled_up(rotary[1]))
    q, k, v = split_heads(model, block, qkv, rotary)
    mask, positions = None, qkv.shape[-2]
    if model.position_bias is not None:
        hidden = hidden_keys(block, positions, q.device)
        mask = model.position_bias(positions)[:, None].masked_fill(hidden, -torch.inf)
    elif block.window is not None and block.window < positions:
        mask = ~hidden_keys(block, positions, q.device)
    grouped = model.n_key_value_heads != model.n_heads
    if grouped and q.device.type != "cpu":  # no fused fp32 kernel elsewhere takes groups
        k, v, grouped = shared_keys(model, k), shared_keys(model, v), False
    z = scaled_dot_product_attention(
        q, k, v, attn_mask=mask, is_causal=mask is None, scale=model.attention_scale,
        enable_gqa=grouped,
    )  # fmt: skip
    return z[..., :there, :].transpose(1, 2).flatten(2)


def filled_up(x: Tensor) -> Tensor:
    """(..., pos, d) with positions of zeros behind, up to a multiple of `CPU_POSITIONS`."""
    return pad(x, (0, 0, 0, -x.shape[-2] % CPU_POSITIONS))


def activate(model: FoldedModel, mlp_pre: Tensor) -> Tensor:
    """`act(pre)`, or `act(gate) * up` of a gated MLP: (..., d_mlp or 2 d_mlp) to (..., d_mlp)."""
    if not model.gated_mlp:
        return model.activation(mlp_pre)
    gate, up = mlp_pre.tensor_split(2, dim=-1)
    return model.activation(gate).mul_(up)


def run_layers(model: FoldedModel, tokens: Tensor) -> Iterator[LayerActivations]:
    """The clean forward pass over `tokens` (batch, pos), one layer at a time."""
    resid = model.embed(tokens)
    for block in model.blocks:
        squared_pre = squared_mid = squared_scale(resid, model.eps)
        normalized = resid * squared_pre.rsqrt() if model.pre_norm else resid
        qkv = block.qkv(normalized)
        rotary = None if block.rotary is None else block.rotary(tokens.shape[1])
        z = attend(model, block, qkv, rotary)
        attn = Written.of(block.out(z), block.attention_post_norm, model.eps)
        resid_mid = resid if model.parallel_attention else resid + attn.out
        if not model.parallel_attention:
            squared_mid = squared_scale(resid_mid, model.eps)
            normalized = resid_mid * squared_mid.rsqrt() if model.pre_norm else resid_mid
        mlp_pre = block.mlp_in(normalized)
        mlp_post = activate(model, mlp_pre)
        mlp = Written.of(block.mlp_out(mlp_post), block.mlp_post_norm, model.eps)
        resid_post = resid + attn.out + mlp.out
        yield LayerActivations(
            resid, squared_pre, resid_mid, squared_mid,
            qkv, rotary, z, attn, mlp_pre, mlp_post, mlp, resid_post,
        )  # fmt: skip
        resid = resid_post


def head_direction(block: FoldedBlock, layer: LayerActivations, u: Tensor) -> Tensor:
    """`u_t` through the clean post-norm and each head's `W_O`: (batch, pos, (head d_head)).

    u: (batch, pos, d_model), perhaps of the first positions alone.
    """
    return layer.attn.through_norm(u) @ block.out.weight


def head_effects(model: FoldedModel, z: Tensor, direction: Tensor) -> Tensor:
    """`(z_h W_O[h]) . u_t` of every head, before the division by S: (..., batch, pos, head).

    direction: `head_direction`.
    """
    return model.by_head(z * direction).sum(-1)


@torch.inference_mode()
def clean_facts(model: FoldedModel, tokens: Tensor) -> CleanFacts:
    """One forward pass over `tokens` (batch, pos): logits, scales and all direct effects."""
    targets = tokens[:, 1:]
    direction = model.unembedding_direction(targets)
    heads, mlps, z_sums = [], [], []
    resid = tokens
    for block, layer in zip(model.blocks, run_layers(model, tokens), strict=True):
        z = layer.z
        heads.append(head_effects(model, z[:, :-1], head_direction(block, layer, direction)))
        mlps.append(dot(layer.mlp.out[:, :-1], direction))
        z_sums.append(z.flatten(0, 1).double().sum(0).view(model.n_heads, model.d_head))
        resid = layer.resid_post
    ln_scale = squared_scale(resid[:, :-1], model.eps).sqrt().squeeze(-1)
    bias = model.b_U[targets]
    return CleanFacts(
        logit=dot(resid[:, :-1], direction) / ln_scale + bias,
        logit_bias=bias,
        ln_scale=ln_scale,
        head_effects=(torch.stack(heads) / ln_scale[..., None]).movedim(-1, 1),
        mlp_effects=torch.stack(mlps) / ln_scale,
        z_sum=torch.stack(z_sums),
    )


@torch.inference_mode()
def logits(model: FoldedModel, tokens: Tensor) -> Tensor:
    """All logits, (batch, pos, d_vocab), before a final cap: only to compare with the model's."""
    resid = model.embed(tokens)
    for layer in run_layers(model, tokens):
        resid = layer.resid_post
    return resid * squared_scale(resid, model.eps).rsqrt() @ model.W_U.T + model.b_U
