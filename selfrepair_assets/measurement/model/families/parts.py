"""What a family says of itself: where its parts are, and which switches its blocks have set.

A family is a function from a transformers model to `Parts` (names of modules) and `Switches`
(numbers and flags); `reading.read` makes one `FoldedModel` of any of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from selfrepair_assets.measurement.model.folded_model import Tables, UnknownArchitectureError


@dataclass(frozen=True)
class Parts:
    """Dotted names: of the model's parts, and within a block.

    Defaults are Llama's, which most families have taken over.
    """

    blocks: str = "model.layers"
    embedding: str = "model.embed_tokens"
    embedding_norm: str | None = None
    position_embedding: str | None = None
    final_norm: str = "model.norm"
    attention_norm: str | None = "input_layernorm"
    mlp_norm: str | None = "post_attention_layernorm"  # parallel blocks: may be the attention's
    qkv: tuple[str, ...] = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
    qkv_by_group: bool = False  # one map: the queries, key and value of a key-value head, the next
    qk_norms: tuple[str, str] | None = None
    out: str = "self_attn.o_proj"
    attention_post_norm: str | None = None
    mlp_in: tuple[str, ...] = ("mlp.gate_proj", "mlp.up_proj")  # one map may hold both
    mlp_out: str = "mlp.down_proj"
    mlp_post_norm: str | None = None


@dataclass(frozen=True)
class Switches:
    """What a family's forward pass does apart from its weights.

    Attributes:
        layer_norm: the norms subtract the mean; else they are RMS norms.
        norm_offset: what is added to a norm's stored weight.
        head_norm: q/k norms are over each head by itself, not over all of a position.
        rotary: per layer its tables, or None; None for no layer.
        rotary_pairs: the rotary embedding turns neighbours (0 1), (2 3), ..., not two halves.
        windows: per layer the positions that a query sees, itself included, or None for all.
        position_bias: from a number of positions to what is added to the scores of a key,
            (head, key position); a constant over the keys is free, as softmax does not see it.
        query_scales: per layer, what queries are multiplied by.
    """

    n_heads: int
    n_key_value_heads: int
    eps: float
    activation: str
    layer_norm: bool = False
    norm_offset: float = 0.0
    parallel: bool = False
    gated: bool = True
    head_norm: bool = True
    attention_scale: float | None = None  # None: 1 / sqrt(d_head)
    attention_cap: float | None = None
    rotary: list[Tables | None] | None = None
    rotary_pairs: bool = False
    windows: list[int | None] | None = None
    position_bias: Callable[[int], Tensor] | None = None
    query_scales: list[float] | None = None
    embedding_scale: float = 1.0
    residual_scale: float = 1.0
    logit_scale: float = 1.0
    first_position: int = 0  # of the position embedding


def older(config: Any, **others: Any) -> Switches:
    """What families before Llama have alike: LayerNorms, no gate, keys and values of each head."""
    n_heads = config.num_attention_heads
    alike: dict[str, Any] = {"n_heads": n_heads, "n_key_value_heads": n_heads}
    alike |= {"layer_norm": True, "gated": False}
    if "eps" not in others:
        alike["eps"] = config.layer_norm_epsilon
    return Switches(**alike | others)


Family = Callable[[Any], tuple[Parts, Switches]]
"""From a transformers model to what it says of itself; UnknownArchitectureError for a variant."""


def refuse(condition: object, what: str) -> None:
    """Raises UnknownArchitectureError for a variant that is not read."""
    if condition:
        raise UnknownArchitectureError(what)
