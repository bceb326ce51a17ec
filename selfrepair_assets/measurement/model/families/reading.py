"""Folding: a transformers model's own weights, unchanged in memory, into one `FoldedModel`.

    norm          y = w x/S + b, then W y + c    becomes    (W w) x/S + (W b + c)
    LayerNorm     x/S with x centred             so whatever writes to the stream is centred
    value bias    a row of a pattern sums to 1   so b_V joins b_O, through W_O
    residual, embedding and logit scales         join the weights that write, W_E and W_U
    rotary in neighbouring pairs                 becomes one in halves: q's and k's rows reordered
    q/k LayerNorm                                becomes an RMS norm: q's and k's rows centred

Post-norms and the weights of q/k norms stay what they are: no linear map follows them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from selfrepair_assets.measurement.model.families.parts import Parts, Switches, refuse
from selfrepair_assets.measurement.model.folded_model import FoldedBlock, FoldedModel, activation
from selfrepair_assets.measurement.products.precision import LinearMap

Affine = tuple[Tensor, Tensor]
"""A linear map's weight, (out, in), and bias, (out); a norm's, each (d)."""


@torch.no_grad()
def read(model: Any, parts: Parts, switches: Switches, center_unembed: bool) -> FoldedModel:
    """Fold `model`, fp32, which is left as it is (some of its tensors are shared)."""
    blocks = list(model.get_submodule(parts.blocks))
    folded = [_Block(block, parts, switches, i).fold() for i, block in enumerate(blocks)]
    d_head = folded[0].out.weight.shape[1] // switches.n_heads
    scale = switches.attention_scale
    W_U, b_U = _unembedding(model, parts, switches, center_unembed)
    return FoldedModel(
        blocks=folded,
        W_E=_embedding(model, parts, switches),
        W_pos=_position_embedding(model, parts, switches),
        W_U=W_U,
        b_U=b_U,
        n_heads=switches.n_heads,
        n_key_value_heads=switches.n_key_value_heads,
        d_head=d_head,
        d_mlp=folded[0].mlp_out.weight.shape[1],
        eps=switches.eps,
        layer_norm=switches.layer_norm,
        pre_norm=parts.attention_norm is not None,
        head_norm=switches.head_norm,
        attention_scale=d_head**-0.5 if scale is None else scale,
        attention_cap=switches.attention_cap,
        parallel_attention=switches.parallel,
        gated_mlp=switches.gated,
        activation=activation(switches.activation),
        position_bias=switches.position_bias,
    )


def _unembedding(model: Any, parts: Parts, switches: Switches, center: bool) -> Affine:
    """`u_t` of every token, (d_vocab, d_model), and `b_t`, (d_vocab)."""
    W, b = _affine(model.get_output_embeddings())
    w_norm, b_norm = _norm(model.get_submodule(parts.final_norm), switches, W)
    scale = switches.logit_scale
    W, b = W * w_norm * scale, (W @ b_norm + b) * scale
    return (W - W.mean(0), b - b.mean()) if center else (W, b)


def _embedding(model: Any, parts: Parts, switches: Switches) -> Tensor:
    module = model.get_submodule(parts.embedding)
    W = module.weight.detach() * switches.embedding_scale
    if parts.embedding_norm is not None:  # which is the same for a token wherever it is
        W = model.get_submodule(parts.embedding_norm)(W)
    return _centred(W, switches)


def _position_embedding(model: Any, parts: Parts, switches: Switches) -> Tensor | None:
    if parts.position_embedding is None:
        return None
    W = model.get_submodule(parts.position_embedding).weight.detach()
    return _centred(W[switches.first_position :], switches)


class _Block:
    """One layer: its module, and how to read it."""

    def __init__(self, block: Any, parts: Parts, switches: Switches, layer: int) -> None:
        self.block, self.parts, self.switches, self.layer = block, parts, switches, layer

    def fold(self) -> FoldedBlock:
        parts, switches = self.parts, self.switches
        W_O, b_O = _affine(self.block.get_submodule(parts.out))
        d_head = W_O.shape[1] // switches.n_heads
        (q, b_q), (k, b_k), (v, b_v) = self._qkv(d_head)
        share = switches.n_heads // switches.n_key_value_heads
        b_O = b_O + W_O @ b_v.unflatten(0, (-1, d_head)).repeat_interleave(share, 0).flatten()
        mlp_in = [_affine(self.block.get_submodule(name)) for name in parts.mlp_in]
        stacked = _stacked(mlp_in)
        q_norm, k_norm = self._qk_norms(d_head)
        return FoldedBlock(
            qkv=LinearMap(torch.cat([q, k, v]), torch.cat([b_q, b_k, torch.zeros_like(b_v)])),
            out=self._writing((W_O, b_O)),
            mlp_in=LinearMap(*self._after_norm(parts.mlp_norm, stacked)),
            mlp_out=self._writing(_affine(self.block.get_submodule(parts.mlp_out))),
            window=None if switches.windows is None else switches.windows[self.layer],
            rotary=None if switches.rotary is None else switches.rotary[self.layer],
            q_norm=q_norm,
            k_norm=k_norm,
            attention_post_norm=self._post_norm(parts.attention_post_norm),
            mlp_post_norm=self._post_norm(parts.mlp_post_norm),
        )

    def _qkv(self, d_head: int) -> list[Affine]:
        """Queries, keys and values behind their norm, the first two as they are rotated here."""
        heads, groups = self.switches.n_heads, self.switches.n_key_value_heads
        W, b = self._after_norm(
            self.parts.attention_norm,
            _stacked([_affine(self.block.get_submodule(name)) for name in self.parts.qkv]),
        )
        W, b = W.unflatten(0, (-1, d_head)), b.unflatten(0, (-1, d_head))  # head d_head (d_model)
        if self.parts.qkv_by_group:
            share = heads // groups
            W, b = W.unflatten(0, (groups, -1)), b.unflatten(0, (groups, -1))
            W, b = (
                torch.cat([t[:, :share].flatten(0, 1), t[:, share], t[:, share + 1]])
                for t in (W, b)
            )
        q, k, v = zip(
            W.split([heads, groups, groups]), b.split([heads, groups, groups]), strict=True
        )
        order = self._rotary_order(d_head)
        found = []
        for W, b in (q, k):
            if self.parts.qk_norms is not None and self.switches.layer_norm:
                W, b = W - W.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
            found.append((W[:, order].flatten(0, 1), b[:, order].flatten()))
        if self.switches.query_scales is not None:
            scale = self.switches.query_scales[self.layer]
            found[0] = (found[0][0] * scale, found[0][1] * scale)
        return [*found, (v[0].flatten(0, 1), v[1].flatten())]

    def _rotary_order(self, d_head: int) -> Tensor:
        """Where the dimensions of a head come from, so that its rotated ones are two halves."""
        order = torch.arange(d_head)
        tables = None if self.switches.rotary is None else self.switches.rotary[self.layer]
        if tables is None or not self.switches.rotary_pairs:
            return order
        rotated = 2 * tables(1)[0].shape[-1]
        return torch.cat([order[:rotated:2], order[1:rotated:2], order[rotated:]])

    def _qk_norms(self, d_head: int) -> tuple[Tensor | None, Tensor | None]:
        """Weights, (head, d_head), in the order in which a head's dimensions are here."""
        if self.parts.qk_norms is None:
            return None, None
        found = []
        heads = (self.switches.n_heads, self.switches.n_key_value_heads)
        for name, n in zip(self.parts.qk_norms, heads, strict=True):
            module = self.block.get_submodule(name)
            norms = getattr(module, "norms", [module])  # StableLM has one for each head
            _same_eps(norms, self.switches)
            refuse(
                any(getattr(norm, "bias", None) is not None for norm in norms), "q/k norm biases"
            )
            weight = torch.cat([norm.weight.detach().flatten() for norm in norms])
            weight = weight.view(-1, d_head).expand(n, d_head) + self.switches.norm_offset
            found.append(weight[:, self._rotary_order(d_head)].contiguous())
        return found[0], found[1]

    def _after_norm(self, name: str | None, affine: Affine) -> Affine:
        """The map of what the norm `name` divides, with the norm's weight and bias in it."""
        W, b = affine
        if name is None:
            return affine
        w_norm, b_norm = _norm(self.block.get_submodule(name), self.switches, W)
        return W * w_norm, W @ b_norm + b

    def _post_norm(self, name: str | None) -> Tensor | None:
        """`gamma`, (d_model)."""
        if name is None:
            return None
        module = self.block.get_submodule(name)
        refuse(self.switches.layer_norm or getattr(module, "bias", None) is not None, "post-norms")
        _same_eps([module], self.switches)
        return module.weight.detach() + self.switches.norm_offset

    def _writing(self, affine: Affine) -> LinearMap:
        """A map whose output is added to the residual stream."""
        W, b = (t * self.switches.residual_scale for t in affine)
        return LinearMap(_centred(W.T, self.switches).T, _centred(b, self.switches))


def _affine(module: Any) -> Affine:
    """Weight, (out, in), and bias, (out), of a linear map; GPT-2's `Conv1D` stores (in, out)."""
    weight = module.weight.detach()
    weight = weight if isinstance(module, nn.Linear) else weight.T
    bias = getattr(module, "bias", None)
    return weight, weight.new_zeros(len(weight)) if bias is None else bias.detach()


def _stacked(affines: list[Affine]) -> Affine:
    if len(affines) == 1:
        return affines[0]
    return torch.cat([W for W, _ in affines]), torch.cat([b for _, b in affines])


def _norm(module: Any, switches: Switches, W: Tensor) -> Affine:
    """What a norm multiplies by and adds before `W`, (out, d_model)."""
    _same_eps([module], switches)
    weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
    return (
        W.new_ones(W.shape[1]) if weight is None else weight.detach() + switches.norm_offset,
        W.new_zeros(W.shape[1]) if bias is None else bias.detach(),
    )


def _same_eps(norms: Any, switches: Switches) -> None:
    for norm in norms:
        eps = getattr(norm, "variance_epsilon", getattr(norm, "eps", switches.eps))
        refuse(eps != switches.eps, "norms with different eps")


def _centred(rows: Tensor, switches: Switches) -> Tensor:
    """Rows (..., d_model) without their mean, which a LayerNorm does not see."""
    return rows - rows.mean(-1, keepdim=True) if switches.layer_norm else rows
