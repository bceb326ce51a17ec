"""Changes: how a change of the residual stream travels through one block.

A linear map acts on a change as it is. A norm is expanded around the clean run (`norm_change`).
Attention and the MLP's activation are evaluated at the changed input, and the cached clean value
is subtracted. Everything is (rows, batch, pos, ...): a row is one ablation, say, of one head.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from selfrepair_assets.measurement.engine.clean_run import (
    LayerActivations,
    Written,
    activate,
    attend,
    dot,
    head_direction,
    run_layers,
    squared_scale,
)
from selfrepair_assets.measurement.model.folded_model import FoldedBlock, FoldedModel
from selfrepair_assets.measurement.products.precision import FIRST_POSITIONS


@dataclass(frozen=True)
class CleanBlock:
    """A block of the clean run, through which a change is followed."""

    model: FoldedModel
    block: FoldedBlock
    layer: LayerActivations
    direction: Tensor  # batch pos d_model: u_t
    head_direction: Tensor  # batch pos (head d_head): u_t through W_O (and the clean post-norm)
    neuron_direction: Tensor  # batch pos d_mlp: u_t through W_out (and the clean post-norm)

    @classmethod
    def of(
        cls, model: FoldedModel, block: FoldedBlock, layer: LayerActivations, direction: Tensor
    ) -> CleanBlock:
        """With what `direction` is before `W_O` and `W_out`: two products that all rows share."""
        return cls(
            model,
            block,
            layer,
            direction,
            head_direction(block, layer, direction),
            layer.mlp.through_norm(direction) @ block.mlp_out.weight,
        )


AttendTo = Callable[[CleanBlock, Tensor], Tensor]
"""Changed queries, keys and values (rows, batch, pos, (q k v)) to the change of z."""


@dataclass(frozen=True)
class CleanRun:
    """The cached clean run that changes are measured against.

    `pos` counts prediction positions alone: a sequence's last token is only a target.
    """

    model: FoldedModel
    layers: list[LayerActivations]
    direction: Tensor  # batch pos d_model: u_t
    squared_final_scale: Tensor  # batch pos 1: S^2

    @property
    def final_scale(self) -> Tensor:
        """The clean S, (batch, pos)."""
        return self.squared_final_scale.sqrt().squeeze(-1)

    @cached_property
    def blocks(self) -> list[CleanBlock]:
        """One for each layer."""
        return [
            CleanBlock.of(self.model, block, layer, self.direction)
            for block, layer in zip(self.model.blocks, self.layers, strict=True)
        ]

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
    _, inverse, inverse_change = scale_change(x, delta, squared)
    return (delta * inverse).addcmul_(x, inverse_change)


def scale_change(x: Tensor, delta: Tensor, squared: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`S'^2`, `1/S'` and `1/S' - 1/S`, each with a last dimension of 1."""
    m = torch.linalg.vecdot(delta, torch.add(delta, x, alpha=2)).unsqueeze(-1).div_(x.shape[-1])
    squared_ablated = squared + m
    scale, scale_ablated = squared.sqrt(), squared_ablated.sqrt()
    inverse_change = m.neg_() / (scale * scale_ablated * (scale + scale_ablated))
    return squared_ablated, scale_ablated.reciprocal(), inverse_change


def pre_norm_change(model: FoldedModel, x: Tensor, delta: Tensor, squared: Tensor) -> Tensor:
    """The change of what attention or MLP read, for a change `delta` of the residual stream."""
    return norm_change(x, delta, squared) if model.pre_norm else delta


def written_change(written: Written, before: Tensor) -> Tensor:
    """The change of what is written to the stream, for a change of what a post-norm reads."""
    if written.squared is None or written.gamma is None:
        return before
    return norm_change(written.before, before, written.squared).mul_(written.gamma)


def post_norm_part(written: Written, before: Tensor, u: Tensor) -> Tensor:
    """What a post-norm's own scale gives back, `gamma (o + o_change) (1/S_post' - 1/S_post) . u`.

    Zero without a post-norm. `before`: the change of `o`, (rows, batch, pos, d_model).
    """
    if written.squared is None or written.gamma is None:
        return before.new_zeros(before.shape[:-1])
    _, _, inverse_change = scale_change(written.before, before, written.squared)
    changed = dot(written.before + before, written.gamma * u)
    return changed * inverse_change.squeeze(-1)


def attend_to_changed(at: CleanBlock, qkv: Tensor) -> Tensor:
    """The change of `z` where keys and values change at every position, as queries do."""
    z = attend(at.model, at.block, qkv.flatten(0, 1), at.layer.rotary)
    return z.unflatten(0, qkv.shape[:2]).sub_(at.layer.z)


@dataclass(frozen=True)
class Followed:
    """What a change of a block's input changes in it: each (rows, batch, pos, ...).

    The effects are on the target's logit, `change . u_t`, not yet divided by S: (rows, batch, pos).
    """

    resid_post: Tensor
    z: Tensor | None  # (head d_head); None where attention does not see the change
    heads_effect: Tensor | None
    mlp_effect: Tensor
    mlp_post: Tensor | None  # None where it is not wanted

    @property
    def parts(self) -> tuple[Tensor | None, ...]:
        return self.resid_post, self.z, self.heads_effect, self.mlp_effect, self.mlp_post

    def first(self, n: int) -> Followed:
        """Of the first n rows."""
        first: dict[str, Any] = {k: None if v is None else v[:n] for k, v in vars(self).items()}
        return Followed(**first)


def mlp_change(at: CleanBlock, read: Tensor, precision: str) -> tuple[Tensor, Tensor, Tensor]:
    """What the MLP changes, for a change of what it reads: `mlp_post`, what is written, its effect.

    Its effect is taken before the last product, `mlp_post . (u_t W_out)` (a post-norm is no linear
    map: after it). What bf16 rounds of that product is then not in it.
    The first positions go through it by themselves, in fp32 (`precision.py`).

    Rows lie behind positions in memory meanwhile: a position's clean activations, the widest of a
    block, are then read once for all rows, and not once for each.
    """
    model, block, layer = at.model, at.block, at.layer
    first = slice(None), slice(FIRST_POSITIONS)  # of (batch, pos, rows, d)

    def through(
        read: Tensor, pre: Tensor, post: Tensor, u: Tensor, precision: str
    ) -> tuple[Tensor, Tensor, Tensor]:
        changed = block.mlp_in.of_change(read, precision).add_(pre)
        post_change = activate(model, changed).sub_(post)
        out = block.mlp_out.of_change(post_change, precision)
        return post_change, out, dot(post_change, u)

    read = read.movedim(0, 2).contiguous()
    clean = layer.mlp_pre, layer.mlp_post, at.neuron_direction
    pre, clean_post, u = (of.unsqueeze(2) for of in clean)
    found = through(read, pre, clean_post, u, precision)
    if precision != "fp32":
        of_first = through(read[first], pre[first], clean_post[first], u[first], "fp32")
        for of_all, exact in zip(found, of_first, strict=True):
            of_all[first] = exact
    post, out, effect = (of.movedim(2, 0) for of in found)
    out = written_change(layer.mlp, out)
    return post, out, effect if layer.mlp.squared is None else dot(out, at.direction)


def follow_mid(at: CleanBlock, delta: Tensor, precision: str, neurons: bool) -> Followed:
    """A change `delta` of `resid_mid` alone: of the sequential block whose head was ablated.

    delta: (rows, batch, pos, d_model); its memory is reused for the change of `resid_post`.
    """
    read = pre_norm_change(at.model, at.layer.resid_mid, delta, at.layer.squared_mid)
    post, out, effect = mlp_change(at, read, precision)
    return Followed(delta.add_(out), None, None, effect, post if neurons else None)


def follow_block(
    at: CleanBlock,
    delta: Tensor,
    precision: str,
    neurons: bool,
    attend_to: AttendTo = attend_to_changed,
) -> Followed:
    """A change of `resid_pre`, followed through attention and MLP:

        z'         = attend(qkv + dqkv) - z,                  dqkv = dnorm W_QKV
        resid_mid  = delta + z' W_O                          (what a sequential block's MLP reads)
        mlp_post   = act(pre + dpre) - act(pre),              dpre = dnorm W_in
        resid_post = delta + z' W_O + mlp_post W_out         (each line a change)

    where a post-norm follows, what `W_O` and `W_out` write goes through it (`written_change`). The
    effects on the logit are `z' . (u_t W_O)` and `mlp_post . (u_t W_out)`.

    Args:
        delta: (rows, batch, pos, d_model); its memory is reused for the change of `resid_post`.
        neurons: whether the change of `mlp_post` is wanted.
        attend_to: how a position sees the changes of those before it.
    """
    model, block, layer = at.model, at.block, at.layer
    read = pre_norm_change(model, layer.resid_pre, delta, layer.squared_pre)
    qkv = block.qkv.of_change_by_position(read, precision).add_(layer.qkv)
    z = attend_to(at, qkv)
    attn_out = written_change(layer.attn, block.out.of_change_by_position(z, precision))
    if layer.attn.squared is None:
        heads_effect = dot(z, at.head_direction)
    else:
        heads_effect = dot(attn_out, at.direction)
    delta = delta.add_(attn_out)
    if not model.parallel_attention:
        read = pre_norm_change(model, layer.resid_mid, delta, layer.squared_mid)
    mlp_post, mlp_out, mlp_effect = mlp_change(at, read, precision)
    return Followed(delta.add_(mlp_out), z, heads_effect, mlp_effect, mlp_post if neurons else None)


Step = Callable[[CleanBlock, Tensor, str, bool], Followed]
"""Of a change `delta`, whose memory is reused, in a precision; and whether the change of `mlp_post`
is wanted."""


@dataclass(frozen=True)
class Steps:
    """How a change is followed: in the ablated head's own block, and through each later one."""

    mid: Step
    block: Step


PLAIN = Steps(follow_mid, follow_block)
