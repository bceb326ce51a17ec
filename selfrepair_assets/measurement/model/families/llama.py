"""Llama and what is a Llama but for a switch or two."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from selfrepair_assets.measurement.model.families.parts import Parts, Switches, refuse
from selfrepair_assets.measurement.model.families.tables import (
    rotary_tables,
    windows_by_layer_type,
)

PARTS = Parts()
QK_NORMS = ("self_attn.q_norm", "self_attn.k_norm")


def switches(model: Any, **others: Any) -> Switches:
    """What these families' configurations call alike; a rotary embedding in every layer."""
    config = model.config
    values: dict[str, Any] = {
        "n_heads": config.num_attention_heads,
        "n_key_value_heads": config.num_key_value_heads,
    }
    if "activation" not in others:
        values["activation"] = config.hidden_act
    if "rotary" not in others:
        tables = rotary_tables(model.model.rotary_emb)
        values["rotary"] = [tables] * config.num_hidden_layers
    if "eps" not in others:
        values["eps"] = config.rms_norm_eps
    return Switches(**values | others)


def llama(model: Any) -> tuple[Parts, Switches]:
    return PARTS, switches(model)


def mistral(model: Any) -> tuple[Parts, Switches]:
    return PARTS, switches(model, windows=_one_window(model.config))


def qwen2(model: Any) -> tuple[Parts, Switches]:
    return PARTS, switches(model, windows=windows_by_layer_type(model.config))


def qwen3(model: Any) -> tuple[Parts, Switches]:
    """Qwen2 with norms on each head's queries and keys."""
    windows = windows_by_layer_type(model.config)
    return replace(PARTS, qk_norms=QK_NORMS), switches(model, windows=windows)


def smollm3(model: Any) -> tuple[Parts, Switches]:
    """Some layers have no rotary embedding."""
    config = model.config
    tables = rotary_tables(model.model.rotary_emb)
    return PARTS, switches(
        model,
        rotary=[tables if used else None for used in config.no_rope_layers],
        windows=windows_by_layer_type(config),
    )


def phi3(model: Any) -> tuple[Parts, Switches]:
    """Fused q, k, v, and fused gate and up."""
    parts = replace(PARTS, qkv=("self_attn.qkv_proj",), mlp_in=("mlp.gate_up_proj",))
    return parts, switches(model, windows=_one_window(model.config))


def granite(model: Any) -> tuple[Parts, Switches]:
    """Four constant scales."""
    config = model.config
    return PARTS, switches(
        model,
        attention_scale=config.attention_multiplier,
        embedding_scale=config.embedding_multiplier,
        residual_scale=config.residual_multiplier,
        logit_scale=1 / config.logits_scaling,
    )


def olmo(model: Any) -> tuple[Parts, Switches]:
    """LayerNorms without weights."""
    refuse(model.config.clip_qkv is not None, "OLMo with clipped queries, keys and values")
    return PARTS, switches(model, eps=1e-5, layer_norm=True)


def starcoder2(model: Any) -> tuple[Parts, Switches]:
    """LayerNorms, and an MLP without a gate."""
    config = model.config
    parts = replace(PARTS, mlp_in=("mlp.c_fc",), mlp_out="mlp.c_proj")
    return parts, switches(
        model,
        eps=config.norm_epsilon,
        layer_norm=True,
        gated=False,
        windows=_one_window(config),
    )


def stablelm(model: Any) -> tuple[Parts, Switches]:
    """LayerNorms, a partial rotary embedding; some have parallel blocks, or norms on q and k."""
    config = model.config
    parts = PARTS
    if config.use_parallel_residual:
        parts = replace(parts, mlp_norm=parts.attention_norm)
    if config.qk_layernorm:
        parts = replace(parts, qk_norms=("self_attn.q_layernorm", "self_attn.k_layernorm"))
    return parts, switches(
        model, eps=config.layer_norm_eps, layer_norm=True, parallel=config.use_parallel_residual
    )


def glm(model: Any) -> tuple[Parts, Switches]:
    """Fused gate and up; the rotary embedding turns neighbours."""
    return replace(PARTS, mlp_in=("mlp.gate_up_proj",)), switches(model, rotary_pairs=True)


def cohere(model: Any) -> tuple[Parts, Switches]:
    """Parallel blocks with one LayerNorm, scaled logits, rotary in neighbours."""
    config = model.config
    parts = replace(PARTS, mlp_norm=PARTS.attention_norm)
    if config.use_qk_norm:
        parts = replace(parts, qk_norms=QK_NORMS)
    tables = rotary_tables(model.model.rotary_emb, pairs=True)
    return parts, switches(
        model,
        eps=config.layer_norm_eps,
        layer_norm=True,
        parallel=True,
        rotary=[tables] * config.num_hidden_layers,
        rotary_pairs=True,
        logit_scale=config.logit_scale,
    )


def _one_window(config: Any) -> list[int | None]:
    """The same window in every layer."""
    return [config.sliding_window] * config.num_hidden_layers
