"""Where each architecture keeps the parts that the oracle looks at, and what its norms do."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Anatomy:
    """Where an architecture keeps the parts that the oracle looks at, as dotted names."""

    blocks: str
    attention_norm: str | None  # the norm that the attention reads, if there is one
    value: str  # the linear layer that makes the values, alone or with queries and keys
    out_projection: str
    mlp_out: str
    final_norm: str
    value_layout: str = "alone"  # | 'q k v' (one after the other) | 'per group' (queries k v, ...)
    attention_post_norm: str | None = None  # between the attention's output and the stream
    mlp_post_norm: str | None = None


_LLAMA = Anatomy(
    blocks="model.layers",
    attention_norm="input_layernorm",
    value="self_attn.v_proj",
    out_projection="self_attn.o_proj",
    mlp_out="mlp.down_proj",
    final_norm="model.norm",
)

_GEMMA_2 = replace(
    _LLAMA,
    attention_post_norm="post_attention_layernorm",
    mlp_post_norm="post_feedforward_layernorm",
)
_GPT2 = Anatomy(
    blocks="transformer.h",
    attention_norm="ln_1",
    value="attn.c_attn",
    out_projection="attn.c_proj",
    mlp_out="mlp.c_proj",
    final_norm="transformer.ln_f",
    value_layout="q k v",
)
_BLOOM = Anatomy(
    blocks="transformer.h",
    attention_norm="input_layernorm",
    value="self_attention.query_key_value",
    value_layout="per group",
    out_projection="self_attention.dense",
    mlp_out="mlp.dense_4h_to_h",
    final_norm="transformer.ln_f",
)

ANATOMY: dict[str, Anatomy] = {
    "gpt2": _GPT2,
    "gpt_neo": replace(
        _GPT2,
        value="attn.attention.v_proj",
        out_projection="attn.attention.out_proj",
        value_layout="alone",
    ),
    "opt": Anatomy(
        blocks="model.decoder.layers",
        attention_norm="self_attn_layer_norm",
        value="self_attn.v_proj",
        out_projection="self_attn.out_proj",
        mlp_out="fc2",
        final_norm="model.decoder.final_layer_norm",
    ),
    "gpt_neox": Anatomy(
        blocks="gpt_neox.layers",
        attention_norm="input_layernorm",
        value="attention.query_key_value",
        value_layout="per group",
        out_projection="attention.dense",
        mlp_out="mlp.dense_4h_to_h",
        final_norm="gpt_neox.final_layer_norm",
    ),
    "mixtral": replace(_LLAMA, mlp_out="mlp"),  # experts: what they add up to
    "gptj": replace(
        _GPT2,
        value="attn.v_proj",
        out_projection="attn.out_proj",
        mlp_out="mlp.fc_out",
        value_layout="alone",
    ),
    "phi": replace(
        _LLAMA,
        out_projection="self_attn.dense",
        mlp_out="mlp.fc2",
        final_norm="model.final_layernorm",
    ),
    "bloom": _BLOOM,
    "falcon": _BLOOM,
    "mpt": Anatomy(
        blocks="transformer.blocks",
        attention_norm="norm_1",
        value="attn.Wqkv",
        value_layout="q k v",
        out_projection="attn.out_proj",
        mlp_out="ffn.down_proj",
        final_norm="transformer.norm_f",
    ),
    "phi3": replace(_LLAMA, value="self_attn.qkv_proj", value_layout="q k v"),
    "starcoder2": replace(_LLAMA, mlp_out="mlp.c_proj"),
    **dict.fromkeys(
        (
            *("llama", "mistral", "qwen2", "qwen3", "nemotron", "smollm3"),
            *("gemma", "olmo", "stablelm", "glm", "cohere", "granite"),
        ),
        _LLAMA,
    ),
    **dict.fromkeys(("gemma2", "gemma3_text"), _GEMMA_2),
    **dict.fromkeys(("olmo2", "olmo3", "exaone4"), replace(_GEMMA_2, attention_norm=None)),
    "glm4": replace(
        _LLAMA, attention_post_norm="post_self_attn_layernorm", mlp_post_norm="post_mlp_layernorm"
    ),
    "gpt_oss": replace(_LLAMA, mlp_out="mlp"),
}


def matrix(linear: nn.Module) -> Tensor:
    """[in, out]: GPT-2's ``Conv1D`` stores its weight that way, ``nn.Linear`` the other."""
    weight: Tensor = linear.weight  # type: ignore[assignment]
    return weight.T if isinstance(linear, nn.Linear) else weight


class Norm:
    """What a norm does, said by its class and attributes: ``weight * x / scale(x) + bias``."""

    def __init__(self, module: nn.Module) -> None:
        kind = type(module).__name__
        self.centres = "LayerNorm" in kind  # the others are RMS norms
        weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
        self.weight = torch.ones((), dtype=torch.float64) if weight is None else weight.detach()
        if kind.startswith("Gemma") or kind == "NemotronLayerNorm1P":  # store weight - 1
            self.weight = self.weight + 1
        self.bias = None if bias is None else bias.detach()
        if kind == "OlmoLayerNorm":  # which keeps it in its code
            self.epsilon = 1e-5
        else:
            self.epsilon = next(
                float(getattr(module, name))
                for name in ("eps", "variance_epsilon")
                if hasattr(module, name)
            )

    def scale(self, x: Tensor) -> Tensor:
        """[... 1]: the divisor of x [... d_model]."""
        if self.centres:
            x = x - x.mean(-1, keepdim=True)
        return (x.pow(2).mean(-1, keepdim=True) + self.epsilon).sqrt()
