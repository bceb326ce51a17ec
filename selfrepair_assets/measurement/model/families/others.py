"""Falcon in its layouts, GPT-J, BLOOM and MPT: names and attention of their own."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from selfrepair_assets.measurement.model.families.parts import Parts, Switches, older, refuse
from selfrepair_assets.measurement.model.families.tables import bias_of_positions, rotary_tables
from selfrepair_assets.measurement.model.folded_model import Tables

_BLOOM = Parts(
    blocks="transformer.h",
    embedding="transformer.word_embeddings",
    final_norm="transformer.ln_f",
    qkv=("self_attention.query_key_value",),
    qkv_by_group=True,
    out="self_attention.dense",
    mlp_in=("mlp.dense_h_to_4h",),
    mlp_out="mlp.dense_4h_to_h",
)


def falcon(model: Any) -> tuple[Parts, Switches]:
    """Parallel with one norm (7B), with two and grouped heads (40B), or sequential (RW)."""
    from transformers.models.falcon.modeling_falcon import build_alibi_tensor

    config = model.config
    grouped, parallel = config.new_decoder_architecture, config.parallel_attn
    refuse(grouped and not parallel, "Falcon with grouped heads in sequential blocks")
    parts = vars(_BLOOM)
    if parallel:
        parts = parts | {"mlp_norm": "input_layernorm"}
    if grouped and config.num_ln_in_parallel_attn == 2:
        parts = parts | {"attention_norm": "ln_attn", "mlp_norm": "ln_mlp"}
    heads = config.num_attention_heads
    shared = config.num_kv_heads if grouped else 1 if config.multi_query else heads
    scale = (config.hidden_size // heads) ** -0.5
    device = model.device

    def alibi(n: int) -> Tensor:
        ones = torch.ones(1, n, dtype=torch.long, device=device)
        return build_alibi_tensor(ones, heads, torch.float32)[:, 0] * scale

    return Parts(**parts), older(
        config,
        n_key_value_heads=shared,
        activation=config.activation,
        parallel=parallel,
        rotary=None if config.alibi
        else [rotary_tables(model.transformer.rotary_emb)] * config.num_hidden_layers,
        position_bias=bias_of_positions(alibi) if config.alibi else None,
    )  # fmt: skip


def bloom(model: Any) -> tuple[Parts, Switches]:
    """ALiBi, and a norm on the embedding."""
    from transformers.models.bloom.modeling_bloom import build_alibi_tensor

    config, device = model.config, model.device
    refuse(config.apply_residual_connection_post_layernorm, "BLOOM with normed residuals")

    def alibi(n: int) -> Tensor:
        ones = torch.ones(1, n, dtype=torch.long, device=device)
        return build_alibi_tensor(ones, config.n_head, torch.float32)[:, 0]

    parts = vars(_BLOOM) | {"embedding_norm": "transformer.word_embeddings_layernorm"}
    return Parts(**parts), older(
        config, activation="gelu_new", position_bias=bias_of_positions(alibi)
    )


def mpt(model: Any) -> tuple[Parts, Switches]:
    """ALiBi; LayerNorms without biases."""
    from transformers.models.mpt.modeling_mpt import build_mpt_alibi_tensor

    config, device = model.config, model.device
    refuse(config.attn_config.clip_qkv, "MPT with clipped queries, keys and values")
    parts = Parts(
        blocks="transformer.blocks",
        embedding="transformer.wte",
        final_norm="transformer.norm_f",
        attention_norm="norm_1",
        mlp_norm="norm_2",
        qkv=("attn.Wqkv",),
        out="attn.out_proj",
        mlp_in=("ffn.up_proj",),
        mlp_out="ffn.down_proj",
    )
    return parts, older(
        config,
        activation="gelu",
        attention_scale=config.attn_config.softmax_scale,
        position_bias=bias_of_positions(
            lambda n: build_mpt_alibi_tensor(config.n_heads, n, device=device)[:, 0]
        ),
    )


def gptj(model: Any) -> tuple[Parts, Switches]:
    """Parallel blocks with one norm; the rotary embedding turns neighbours."""
    config = model.config
    parts = Parts(
        blocks="transformer.h",
        embedding="transformer.wte",
        final_norm="transformer.ln_f",
        attention_norm="ln_1",
        mlp_norm="ln_1",
        qkv=("attn.q_proj", "attn.k_proj", "attn.v_proj"),
        out="attn.out_proj",
        mlp_in=("mlp.fc_in",),
        mlp_out="mlp.fc_out",
    )
    return parts, older(
        config,
        activation=config.activation_function,
        parallel=True,
        rotary=[_gptj_tables(model.transformer.h[0].attn)] * config.n_layer,
        rotary_pairs=True,
    )


def _gptj_tables(attention: Any) -> Tables:
    """GPT-J keeps sines, then cosines, of every position."""

    @lru_cache(maxsize=4)
    def tables(n: int) -> tuple[Tensor, Tensor]:
        sin, cos = attention.embed_positions[:n].float().chunk(2, dim=-1)
        return cos, sin

    return tables
