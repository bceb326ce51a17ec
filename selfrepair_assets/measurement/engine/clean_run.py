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
from torch.nn.functional import scaled_dot_product_attention

from selfrepair_assets.measurement.engine.results import CleanFacts
from selfrepair_assets.measurement.model.folded_model import FoldedBlock, FoldedModel


@dataclass(frozen=True)
class LayerActivations:
    """One layer of the clean run. `batch pos` first, except q, k, v: `batch head pos d_head`."""

    resid_pre: Tensor  # batch pos d_model
    squared_pre: Tensor  # batch pos 1: S^2 of resid_pre
    resid_mid: Tensor  # batch pos d_model: what the MLP's norm reads (parallel block: resid_pre)
    squared_mid: Tensor  # batch pos 1: S^2 of resid_mid
    q: Tensor  # after the rotary embedding, as k is
    k: Tensor
    v: Tensor
    z: Tensor  # batch pos (head d_head)
    mlp_pre: Tensor  # batch pos d_mlp, gated: gate, then up (2 d_mlp)
    mlp_post: Tensor  # batch pos d_mlp
    mlp_out: Tensor  # batch pos d_model
    resid_post: Tensor  # batch pos d_model


def squared_scale(x: Tensor, eps: float) -> Tensor:
    """`S^2 = mean(x^2) + eps` over d_model, kept as a last dimension of 1."""
    return x.square().mean(-1, keepdim=True).add_(eps)


def dot(change: Tensor, direction: Tensor) -> Tensor:
    """`(... batch pos d) . (batch pos d)` over the last dimension."""
    return torch.linalg.vecdot(change, direction)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """The rotary embedding on the first `rotary_dim` of `(..., pos, head, d_head)`; linear in x.

    `cos`, `sin`: (pos, rotary_dim), halves alike.
    """
    half = cos.shape[-1] // 2
    cos, sin = cos[:, None, :half], sin[:, None, :half]
    first, second = x[..., :half], x[..., half : 2 * half]
    return torch.cat(
        [first * cos - second * sin, second * cos + first * sin, x[..., 2 * half :]], dim=-1
    )


def split_heads(model: FoldedModel, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`(..., pos, (q k v))` to rotated q, k and v of shape `(..., head, pos, d_head)`."""
    heads, groups = model.n_heads, model.n_key_value_heads
    x = qkv.unflatten(-1, (heads + 2 * groups, model.d_head))
    rotated, v = x[..., : heads + groups, :], x[..., heads + groups :, :]
    if model.rotary is not None:
        rotated = rotate(rotated, *model.rotary(qkv.shape[-2]))
    q, k = rotated[..., :heads, :], rotated[..., heads:, :]
    return q.transpose(-2, -3), k.transpose(-2, -3), v.transpose(-2, -3)


def attend(model: FoldedModel, block: FoldedBlock, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """`z = softmax(scale q k' + mask) v`: rows head pos d_head to rows pos (head d_head)."""
    positions = q.shape[-2]
    mask = None
    if block.window is not None and block.window < positions:
        ones = torch.ones(positions, positions, dtype=torch.bool, device=q.device)
        mask = ones.tril() & ones.triu(1 - block.window)
    grouped = model.n_key_value_heads != model.n_heads
    if grouped and q.device.type != "cpu":  # no fused fp32 kernel elsewhere takes groups
        share = model.n_heads // model.n_key_value_heads
        k, v, grouped = k.repeat_interleave(share, 1), v.repeat_interleave(share, 1), False
    z = scaled_dot_product_attention(
        q, k, v, attn_mask=mask, is_causal=mask is None, scale=model.attention_scale,
        enable_gqa=grouped,
    )  # fmt: skip
    return z.transpose(1, 2).flatten(2)


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
        normalized = resid * squared_pre.rsqrt()
        q, k, v = split_heads(model, block.qkv(normalized))
        z = attend(model, block, q, k, v)
        attn_out = block.out(z)
        resid_mid = resid if model.parallel_attention else resid + attn_out
        if not model.parallel_attention:
            squared_mid = squared_scale(resid_mid, model.eps)
            normalized = resid_mid * squared_mid.rsqrt()
        mlp_pre = block.mlp_in(normalized)
        mlp_post = activate(model, mlp_pre)
        mlp_out = block.mlp_out(mlp_post)
        resid_post = resid + attn_out + mlp_out
        yield LayerActivations(
            resid, squared_pre, resid_mid, squared_mid,
            q, k, v, z, mlp_pre, mlp_post, mlp_out, resid_post,
        )  # fmt: skip
        resid = resid_post


def head_effects(model: FoldedModel, block: FoldedBlock, z: Tensor, direction: Tensor) -> Tensor:
    """`(z_h W_O[h]) . u_t` of every head, before the division by S: (batch, pos, head)."""
    projected = direction @ block.out.weight  # batch pos (head d_head): u_t through each W_O[h]
    return model.by_head(z * projected).sum(-1)


@torch.inference_mode()
def clean_facts(model: FoldedModel, tokens: Tensor) -> CleanFacts:
    """One forward pass over `tokens` (batch, pos): logits, scales and all direct effects."""
    targets = tokens[:, 1:]
    direction = model.unembedding_direction(targets)
    heads, mlps, z_sums = [], [], []
    resid = tokens
    for block, layer in zip(model.blocks, run_layers(model, tokens), strict=True):
        z = layer.z
        heads.append(head_effects(model, block, z[:, :-1], direction))
        mlps.append(dot(layer.mlp_out[:, :-1], direction))
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
    """All logits, (batch, pos, d_vocab): only to compare with the bridge's."""
    resid = model.embed(tokens)
    for layer in run_layers(model, tokens):
        resid = layer.resid_post
    return resid * squared_scale(resid, model.eps).rsqrt() @ model.W_U.T + model.b_U
