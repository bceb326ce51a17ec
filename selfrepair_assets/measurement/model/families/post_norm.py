"""Families with a norm between attention or MLP and the residual stream."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from selfrepair_assets.measurement.model.families.llama import PARTS, QK_NORMS, switches
from selfrepair_assets.measurement.model.families.parts import Parts, Switches, refuse
from selfrepair_assets.measurement.model.families.tables import (
    SLIDING,
    rotary_tables,
    tables_by_layer_type,
    windows_by_layer_type,
)

_GEMMA_2 = replace(
    PARTS,
    mlp_norm="pre_feedforward_layernorm",
    attention_post_norm="post_attention_layernorm",
    mlp_post_norm="post_feedforward_layernorm",
)
_OLMO_2 = replace(_GEMMA_2, attention_norm=None, mlp_norm=None)


def gemma(model: Any) -> tuple[Parts, Switches]:
    """Gemma 1, which has no post-norm yet: norms with `1 + w`, a scaled embedding."""
    _refuse_two_directions(model.config)
    return PARTS, _gemma_switches(model, activation=model.config.hidden_act)


def gemma2(model: Any) -> tuple[Parts, Switches]:
    """Pre- and post-norms, capped scores and logits, a window in every other layer."""
    _refuse_two_directions(model.config)
    return _GEMMA_2, _later_gemma_switches(model)


def gemma3(model: Any) -> tuple[Parts, Switches]:
    """Gemma 2 with norms on q and k, and a rotary base for each type of layer."""
    _refuse_two_directions(model.config)
    refuse(model.config.attn_logit_softcapping is not None, "Gemma 3 with capped scores")
    rotary = tables_by_layer_type(model.model.rotary_emb, model.config)
    parts = replace(_GEMMA_2, qk_norms=QK_NORMS)
    return parts, _later_gemma_switches(model, rotary=rotary)


def olmo2(model: Any) -> tuple[Parts, Switches]:
    """Post-norms only; one norm over all queries, one over all keys."""
    refuse(getattr(model.config, "clip_qkv", None) is not None, "OLMo 2 with clipped q, k and v")
    return replace(_OLMO_2, qk_norms=QK_NORMS), switches(model, head_norm=False)


def olmo3(model: Any) -> tuple[Parts, Switches]:
    """OLMo 2 with windows, and a rotary base for each type of layer."""
    return replace(_OLMO_2, qk_norms=QK_NORMS), switches(
        model,
        head_norm=False,
        windows=windows_by_layer_type(model.config),
        rotary=tables_by_layer_type(model.model.rotary_emb, model.config),
    )


def exaone4(model: Any) -> tuple[Parts, Switches]:
    """Post-norms only, norms on each q and k; the rotary embedding is in the sliding layers."""
    config = model.config
    tables = rotary_tables(model.model.rotary_emb)
    everywhere = config.sliding_window is None
    return replace(_OLMO_2, qk_norms=QK_NORMS), switches(
        model,
        windows=windows_by_layer_type(config),
        rotary=[tables if everywhere or t == SLIDING else None for t in config.layer_types],
    )


def glm4(model: Any) -> tuple[Parts, Switches]:
    """GLM with post-norms."""
    parts = replace(
        PARTS,
        mlp_in=("mlp.gate_up_proj",),
        attention_post_norm="post_self_attn_layernorm",
        mlp_post_norm="post_mlp_layernorm",
    )
    return parts, switches(model, rotary_pairs=True)


def _gemma_switches(model: Any, **others: Any) -> Switches:
    scale = float(model.model.embed_tokens.scalar_embed_scale)
    return switches(model, norm_offset=1.0, embedding_scale=scale, **others)


def _later_gemma_switches(model: Any, **others: Any) -> Switches:
    config = model.config
    return _gemma_switches(
        model,
        activation=config.hidden_activation,
        attention_scale=config.query_pre_attn_scalar**-0.5,
        attention_cap=config.attn_logit_softcapping,
        windows=windows_by_layer_type(config),
        **others,
    )


def _refuse_two_directions(config: Any) -> None:
    refuse(getattr(config, "use_bidirectional_attention", None), "Gemma that looks ahead")
