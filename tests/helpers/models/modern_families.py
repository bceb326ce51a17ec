"""Configurations of what people load today, small, each with the switches that make it another.

``POST_NORM`` are those with a norm between the attention and the residual stream.
"""

from collections.abc import Callable
from typing import Any

from transformers import (
    CohereConfig,
    Exaone4Config,
    FalconConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GemmaConfig,
    Glm4Config,
    GlmConfig,
    GraniteConfig,
    MptConfig,
    Olmo2Config,
    Olmo3Config,
    OlmoConfig,
    Phi3Config,
    PretrainedConfig,
    Qwen3Config,
    SmolLM3Config,
    StableLmConfig,
    Starcoder2Config,
)

LAYER_TYPES = ["sliding_attention", "full_attention", "sliding_attention"]


def modern_families(
    tokens: dict[str, Any], grouped: dict[str, Any], window: int
) -> dict[str, Callable[[], PretrainedConfig]]:
    """By name.

    Args:
        tokens: the vocabulary's size and special tokens.
        grouped: layers, heads and dimensions, as Llama names them, and ``tokens``.
        window: positions that a sliding layer sees.
    """
    grouped = grouped | {"pad_token_id": tokens["eos_token_id"]}
    sliding: dict[str, Any] = {"sliding_window": window, "layer_types": LAYER_TYPES}
    gemma: dict[str, Any] = {"head_dim": 8, "query_pre_attn_scalar": 16, **sliding, **grouped}
    falcon: dict[str, Any] = {
        "num_hidden_layers": 3,
        "hidden_size": 32,
        "num_attention_heads": 4,
        "alibi": False,
        "bias": False,
        **tokens,
    }
    return {
        "qwen3": lambda: Qwen3Config(head_dim=8, **grouped),
        "gemma2": lambda: Gemma2Config(
            attn_logit_softcapping=3.0, final_logit_softcapping=5.0, **gemma
        ),
        "gemma3": lambda: Gemma3TextConfig(
            rope_parameters={
                "full_attention": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4},
                "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
            },
            **gemma,
        ),
        "olmo2": lambda: Olmo2Config(**grouped),
        "phi3": lambda: Phi3Config(sliding_window=window, **grouped),
        "gemma": lambda: GemmaConfig(head_dim=8, **grouped),
        "smollm3": lambda: SmolLM3Config(no_rope_layer_interval=2, **grouped),
        "olmo": lambda: OlmoConfig(**grouped),
        "olmo3": lambda: Olmo3Config(**sliding, **grouped),
        "starcoder2": lambda: Starcoder2Config(sliding_window=window, **grouped),
        "stablelm": lambda: StableLmConfig(use_qkv_bias=True, **grouped),
        "stablelm_parallel": lambda: StableLmConfig(
            qk_layernorm=True, use_parallel_residual=True, **grouped
        ),
        "glm": lambda: GlmConfig(head_dim=8, attention_bias=True, **grouped),
        "glm4": lambda: Glm4Config(head_dim=8, attention_bias=True, **grouped),
        "cohere": lambda: CohereConfig(logit_scale=0.25, **grouped),
        "cohere_qk_norm": lambda: CohereConfig(logit_scale=0.25, use_qk_norm=True, **grouped),
        "granite": lambda: GraniteConfig(
            embedding_multiplier=3.0,
            residual_multiplier=0.5,
            attention_multiplier=0.25,
            logits_scaling=2.0,
            **grouped,
        ),
        "falcon": lambda: FalconConfig(**falcon),
        "falcon_grouped": lambda: FalconConfig(
            new_decoder_architecture=True, num_kv_heads=2, **falcon
        ),
        "falcon_sequential": lambda: FalconConfig(
            **falcon | {"multi_query": False, "parallel_attn": False, "bias": True}
        ),
        "falcon_alibi": lambda: FalconConfig(
            **falcon | {"multi_query": False, "parallel_attn": False, "bias": True, "alibi": True}
        ),
        "mpt": lambda: MptConfig(n_layers=3, n_heads=4, d_model=32, max_seq_len=64, **tokens),
        "exaone4": lambda: Exaone4Config(**sliding, **grouped),
    }


POST_NORM = ("gemma2", "gemma3", "olmo2", "olmo3", "glm4", "exaone4")
