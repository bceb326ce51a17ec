"""A decoder as the engine sees it: folded weights and the few switches that tell families apart.

The weights are TransformerLens' after `enable_compatibility_mode()`: norm weights folded into the
next linear map, writing weights and the unembedding centred, value biases moved into `b_O`. What
remains of a block is

    normalized = resid / ln_scale(resid)
    q, k, v    = normalized W_QKV + b_QKV          rotary embedding on q and k
    z          = softmax(scale q k' + mask) v      grouped: n_heads / n_key_value_heads share k, v
    attn_out   = z W_O + b_O
    mlp_out    = act(normalized W_in + b_in) W_out + b_out        (gated: act(gate) * up)

with `ln_scale(x) = sqrt(mean(x^2) + eps)` for LayerNorm as well, because a centred residual stream
has mean zero. A sequential block's MLP reads `resid_pre + attn_out`, a parallel block's reads
`resid_pre`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from selfrepair_assets.measurement.model.precision import LinearMap

KNOWN_ARCHITECTURES = (
    "GPT2LMHeadModel",
    "GPTNeoForCausalLM",
    "OPTForCausalLM",
    "GPTNeoXForCausalLM",
    "LlamaForCausalLM",
    "MistralForCausalLM",
    "Qwen2ForCausalLM",
)


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


@dataclass(frozen=True)
class FoldedModel:
    """All that a forward pass and its perturbation need.

    Shapes: `W_E` (d_vocab, d_model), `W_pos` (n_ctx, d_model) or None, `W_U` (d_vocab, d_model),
    `b_U` (d_vocab). `rotary(n)` gives cosines and sines of shape (n, rotary_dim).
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
    attention_scale: float
    parallel_attention: bool
    gated_mlp: bool
    activation: Callable[[Tensor], Tensor]
    rotary: Callable[[int], tuple[Tensor, Tensor]] | None

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

    def unembedding_direction(self, targets: Tensor) -> Tensor:
        """`u_t` of each target: (..., ) token ids to (..., d_model); folded and centred already."""
        return self.W_U[targets]

    def embed(self, tokens: Tensor) -> Tensor:
        """(batch, pos) token ids to the first residual stream, (batch, pos, d_model)."""
        resid = self.W_E[tokens]
        return resid if self.W_pos is None else resid + self.W_pos[: tokens.shape[1]]


def fold(bridge: Any, *, parallel_attention: bool) -> FoldedModel:
    """Read a compatibility-mode `TransformerBridge` into a `FoldedModel`.

    Raises:
        UnknownArchitectureError: an architecture, or a variant of one, that is not handled, or
            weights that are not folded after all.
    """
    config = bridge.original_model.config
    architecture = type(bridge.original_model).__name__
    if architecture not in KNOWN_ARCHITECTURES:
        raise UnknownArchitectureError(architecture)
    _refuse_variants(architecture, config)
    _refuse_leftovers(architecture, bridge)
    attn = bridge.blocks[0].attn
    n_heads, d_head = attn.W_Q.shape[0], attn.W_Q.shape[2]
    windows = _windows(architecture, config, len(bridge.blocks))
    with torch.no_grad():
        blocks = [_fold_block(b, window) for b, window in zip(bridge.blocks, windows, strict=True)]
        return FoldedModel(
            blocks=blocks,
            W_E=bridge.W_E.detach(),
            W_pos=bridge.W_pos.detach()
            if bridge.cfg.positional_embedding_type == "standard"
            else None,
            W_U=bridge.W_U.detach().T.contiguous(),
            b_U=bridge.b_U.detach(),
            n_heads=n_heads,
            n_key_value_heads=attn.W_K.shape[0],
            d_head=d_head,
            d_mlp=bridge.blocks[0].mlp.W_out.shape[0],
            eps=bridge.cfg.eps,
            attention_scale=1.0 if architecture == "GPTNeoForCausalLM" else d_head**-0.5,
            parallel_attention=parallel_attention,
            gated_mlp=bridge.cfg.gated_mlp,
            activation=_activation(config),
            rotary=_rotary(bridge),
        )


def _fold_block(block: Any, window: int | None) -> FoldedBlock:
    attn, mlp = block.attn, block.mlp

    def rows(weight: Tensor) -> Tensor:  # head d_model d_head -> (head d_head) d_model
        return weight.detach().transpose(1, 2).reshape(-1, weight.shape[1])

    def bias(value: Tensor | None, n: int) -> Tensor:
        return attn.W_Q.new_zeros(n) if value is None else value.detach().reshape(-1)

    q, k, v = rows(attn.W_Q), rows(attn.W_K), rows(attn.W_V)
    qkv_bias = [bias(attn.b_Q, len(q)), bias(attn.b_K, len(k)), bias(attn.b_V, len(v))]
    d_model, d_mlp = mlp.W_out.shape[1], mlp.W_out.shape[0]
    gate = getattr(mlp, "W_gate", None)
    W_in = mlp.W_in.detach().T
    b_in = bias(mlp.b_in, d_mlp)
    if gate is not None:
        W_in = torch.cat([gate.detach().T, W_in])
        b_in = torch.cat([bias(getattr(mlp, "b_gate", None), d_mlp), b_in])
    return FoldedBlock(
        qkv=LinearMap(torch.cat([q, k, v]), torch.cat(qkv_bias)),
        out=LinearMap(attn.W_O.detach().reshape(-1, d_model).T, bias(attn.b_O, d_model)),
        mlp_in=LinearMap(W_in, b_in),
        mlp_out=LinearMap(mlp.W_out.detach().T, bias(mlp.b_out, d_model)),
        window=window,
    )


def _refuse_variants(architecture: str, config: Any) -> None:
    refused = {
        "GPT2LMHeadModel": config.to_dict().get("scale_attn_by_inverse_layer_idx")
        or config.to_dict().get("add_cross_attention"),
        "OPTForCausalLM": not config.to_dict().get("do_layer_norm_before", True)
        or config.to_dict().get("word_embed_proj_dim", config.hidden_size) != config.hidden_size,
    }
    if refused.get(architecture):
        raise UnknownArchitectureError(f"a variant of {architecture}")


def _refuse_leftovers(architecture: str, bridge: Any) -> None:
    """Raises for a value bias, or a norm that does more than divide: neither is read here.

    The hooked engine finds what they add to `z`, which no token can change.
    """
    if any(b.attn.b_V is not None and b.attn.b_V.any() for b in bridge.blocks):
        raise UnknownArchitectureError(f"{architecture} with value biases that are not folded")
    x = torch.linspace(-1, 1, bridge.W_E.shape[1], device=bridge.W_E.device)[None, None]
    divided = x * (x.square().mean() + bridge.cfg.eps).rsqrt()
    norms = [getattr(b, name) for b in bridge.blocks for name in ("ln1", "ln2") if hasattr(b, name)]
    with torch.no_grad():
        if not all(torch.allclose(n(x), divided, atol=1e-5) for n in [*norms, bridge.ln_final]):
            raise UnknownArchitectureError(f"{architecture} with norms that are not folded")


def _windows(architecture: str, config: Any, n_layers: int) -> list[int | None]:
    """How far back each layer's attention sees."""
    if architecture == "GPTNeoForCausalLM":
        return [config.window_size if t == "local" else None for t in config.attention_layers]
    window = getattr(config, "sliding_window", None)
    layer_types = getattr(config, "layer_types", None)
    if window is None or architecture not in ("MistralForCausalLM", "Qwen2ForCausalLM"):
        return [None] * n_layers
    if layer_types is None:
        return [window] * n_layers
    return [window if t == "sliding_attention" else None for t in layer_types]


def _rotary(bridge: Any) -> Callable[[int], tuple[Tensor, Tensor]] | None:
    """Cosines and sines from the model's own module, so that every scaling of it is the model's."""
    if bridge.cfg.positional_embedding_type != "rotary":
        return None
    device = bridge.W_E.device
    probe = torch.zeros(1, 1, 1, device=device)

    @lru_cache(maxsize=4)
    def tables(n: int) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            cos, sin = bridge.rotary_emb(probe, torch.arange(n, device=device)[None])
        return cos[0].float(), sin[0].float()

    return tables


def _activation(config: Any) -> Callable[[Tensor], Tensor]:
    """The MLP's activation, written in the functions that torch vectorises well on a CPU.

    Mathematically `silu(x) = x (1 + tanh(x/2)) / 2`; torch's own fused tanh-GELU is some thirty
    times slower than the same formula spelled out.
    """
    values = config.to_dict()
    name = next(
        values[key]
        for key in ("activation_function", "hidden_act", "hidden_activation")
        if key in values
    )
    known = {
        "relu": torch.relu,
        "gelu": torch.nn.functional.gelu,
        "gelu_new": _gelu_tanh,
        "gelu_fast": _gelu_tanh,
        "gelu_pytorch_tanh": _gelu_tanh,
        "silu": _silu,
        "swish": _silu,
    }
    if name not in known:
        raise UnknownArchitectureError(f"activation {name}")
    return known[name]


def _gelu_tanh(x: Tensor) -> Tensor:
    inner = (x * x).mul_(0.044715).add_(1.0).mul_(x).mul_((2 / torch.pi) ** 0.5)
    return inner.tanh_().add_(1.0).mul_(x).mul_(0.5)


def _silu(x: Tensor) -> Tensor:
    return (x * 0.5).tanh_().add_(1.0).mul_(x).mul_(0.5)
