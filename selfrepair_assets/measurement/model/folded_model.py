"""A decoder as the engine sees it: folded weights and the few switches that tell families apart.

The weights are a transformers model's own, folded (`families.reading`): norm weights into the next
linear map, writing weights and the unembedding centred, value biases into `b_O`. What remains of a
block is

    normalized = resid / ln_scale(resid)                    (without a pre-norm: resid)
    q, k, v    = normalized W_QKV + b_QKV
    q, k       = rotary(w q / ln_scale(q)), the same of k   (each of the two where a layer has it)
    scores     = scale q k' + position_bias                 (capped: cap tanh(scale q k' / cap))
    z          = softmax(scores + mask) v                   grouped: n_heads / n_key_value_heads
    attn_out   = z W_O + b_O                                share k and v
    mlp_out    = act(normalized W_in + b_in) W_out + b_out  (gated: act(gate) * up)

with `ln_scale(x) = sqrt(mean(x^2) + eps)` for LayerNorm as well, because a centred residual stream
has mean zero. A post-norm turns what attention or MLP write, `o`, into `gamma o / ln_scale(o)`. A
sequential block's MLP reads `resid_pre + attn_out`, a parallel block's reads `resid_pre`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from selfrepair_assets.measurement.products.precision import LinearMap

Tables = Callable[[int], tuple[Tensor, Tensor]]
"""From a number of positions to the rotary embedding's cosines and sines, (pos, rotary_dim / 2)."""


class UnknownArchitectureError(ValueError):
    """The perturbation engine does not know this architecture; the hooked fallback may."""


@dataclass(frozen=True)
class FoldedBlock:
    """One layer's weights; every map is stored as (out, in) like `torch.nn.Linear`."""

    qkv: LinearMap  # ((n_heads + 2 n_key_value_heads) d_head, d_model)
    out: LinearMap  # W_O: (d_model, n_heads d_head)
    mlp_in: LinearMap  # (d_mlp, d_model), gated: gate rows, then up rows (2 d_mlp, d_model)
    mlp_out: LinearMap  # W_out: (d_model, d_mlp)
    window: int | None  # positions a query sees, itself included; None sees all before it
    rotary: Tables | None  # cosines and sines, each (pos, rotary_dim / 2)
    q_norm: Tensor | None  # (n_heads, d_head): weight of the norm on queries, if there is one
    k_norm: Tensor | None  # (n_key_value_heads, d_head)
    attention_post_norm: Tensor | None  # (d_model): gamma of the norm on what attention writes
    mlp_post_norm: Tensor | None

    @property
    def maps(self) -> tuple[LinearMap, ...]:
        return self.qkv, self.out, self.mlp_in, self.mlp_out

    def prepare(self, precision: str) -> None:
        """Rounds the weights for compiled steps in a precision, where they are not yet."""
        for linear in self.maps:
            linear.prepare(precision)


@dataclass(frozen=True)
class FoldedModel:
    """All that a forward pass and its perturbation need.

    Shapes: `W_E` (d_vocab, d_model), `W_pos` (n_ctx, d_model) or None, `W_U` (d_vocab, d_model),
    `b_U` (d_vocab).

    Attributes:
        pre_norm: attention and MLP read the divided stream; else the stream itself.
        head_norm: a q/k norm is over a head by itself, not over all heads together.
        attention_cap: scores are `cap tanh(score / cap)`.
        position_bias: from a number of positions to what is added to a key's scores,
            (head, key position).
    """

    blocks: list[FoldedBlock]
    W_E: Tensor
    W_pos: Tensor | None
    W_U: Tensor
    b_U: Tensor
    n_heads: int
    n_key_value_heads: int
    d_head: int
    d_mlp: int
    eps: float
    layer_norm: bool
    pre_norm: bool
    head_norm: bool
    attention_scale: float
    attention_cap: float | None
    parallel_attention: bool
    gated_mlp: bool
    activation: Callable[[Tensor], Tensor]
    position_bias: Callable[[int], Tensor] | None

    @property
    def n_layers(self) -> int:
        return len(self.blocks)

    @property
    def d_model(self) -> int:
        return self.W_E.shape[1]

    @property
    def device(self) -> torch.device:
        return self.W_E.device

    def by_head(self, z: Tensor) -> Tensor:
        """`(..., (head d_head))` to `(..., head, d_head)`."""
        return z.unflatten(-1, (self.n_heads, self.d_head))

    def tensors(self) -> Iterator[Tensor]:
        """All large ones, to count what they take."""
        yield from (self.W_E, self.W_U, *(() if self.W_pos is None else (self.W_pos,)))
        yield from (linear.weight for block in self.blocks for linear in block.maps)

    @property
    def has_post_norm(self) -> bool:
        return any(block.attention_post_norm is not None for block in self.blocks)

    def unembedding_direction(self, targets: Tensor) -> Tensor:
        """`u_t` of each target: (..., ) token ids to (..., d_model); folded and centred already."""
        return self.W_U[targets]

    def embed(self, tokens: Tensor) -> Tensor:
        """(batch, pos) token ids to the first residual stream, (batch, pos, d_model)."""
        resid = self.W_E[tokens]
        return resid if self.W_pos is None else resid + self.W_pos[: tokens.shape[1]]


def activation(name: str) -> Callable[[Tensor], Tensor]:
    """The MLP's activation, in the functions that torch vectorises well on a CPU.

    Its fused tanh-GELU is not among them there: `_gelu_tanh` is the same formula spelled out.
    """
    known = {
        "relu": torch.relu,
        "gelu": torch.nn.functional.gelu,
        "gelu_new": _gelu_tanh,
        "gelu_fast": _gelu_tanh,
        "gelu_pytorch_tanh": _gelu_tanh,
        "silu": torch.nn.functional.silu,
        "swish": torch.nn.functional.silu,
    }
    if name not in known:
        raise UnknownArchitectureError(f"activation {name}")
    return known[name]


def _gelu_tanh(x: Tensor) -> Tensor:
    """`x (1 + tanh(y)) / 2 = x sigmoid(2y)` with `y = sqrt(2 / pi) (x + 0.044715 x^3)`."""
    if x.device.type != "cpu":
        return torch.nn.functional.gelu(x, approximate="tanh")
    two = 2 * (2 / torch.pi) ** 0.5
    slope = torch.addcmul(torch.full((), two, dtype=x.dtype), x, x, value=0.044715 * two)
    return slope.mul_(x).sigmoid_().mul_(x)
