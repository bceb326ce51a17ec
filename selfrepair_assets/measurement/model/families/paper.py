"""The paper's families and their kin: GPT-2, GPT-Neo, OPT and GPT-NeoX; Llama's are in `llama`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from selfrepair_assets.measurement.model.families.parts import Parts, Switches, older, refuse
from selfrepair_assets.measurement.model.families.tables import rotary_tables

_GPT = Parts(
    blocks="transformer.h",
    embedding="transformer.wte",
    position_embedding="transformer.wpe",
    final_norm="transformer.ln_f",
    attention_norm="ln_1",
    mlp_norm="ln_2",
    mlp_in=("mlp.c_fc",),
    mlp_out="mlp.c_proj",
)


def gpt2(model: Any) -> tuple[Parts, Switches]:
    """A switch of its configuration divides the scores of layer i by i + 1."""
    config = model.config
    refuse(config.add_cross_attention, "GPT-2 with cross-attention")
    layers = range(1, config.n_layer + 1)
    return (
        replace(_GPT, qkv=("attn.c_attn",), out="attn.c_proj"),
        older(
            config,
            activation=config.activation_function,
            attention_scale=None if config.scale_attn_weights else 1.0,
            query_scales=(
                [1 / i for i in layers] if config.scale_attn_by_inverse_layer_idx else None
            ),
        ),
    )


def gpt_neo(model: Any) -> tuple[Parts, Switches]:
    """Scores are not divided by sqrt(d_head); every other layer is local."""
    config = model.config
    heads = ("q_proj", "k_proj", "v_proj")
    return (
        replace(
            _GPT,
            qkv=tuple(f"attn.attention.{name}" for name in heads),
            out="attn.attention.out_proj",
        ),
        older(
            config,
            activation=config.activation_function,
            attention_scale=1.0,
            windows=[config.window_size if t == "local" else None for t in config.attention_layers],
        ),
    )


def opt(model: Any) -> tuple[Parts, Switches]:
    """The first two rows of the position embedding are for padding."""
    config = model.config
    refuse(not config.do_layer_norm_before, "OPT with norms after attention and MLP")
    refuse(config.word_embed_proj_dim != config.hidden_size, "OPT with a projected embedding")
    decoder = "model.decoder"
    heads = ("q_proj", "k_proj", "v_proj")
    return (
        Parts(
            blocks=f"{decoder}.layers",
            embedding=f"{decoder}.embed_tokens",
            position_embedding=f"{decoder}.embed_positions",
            final_norm=f"{decoder}.final_layer_norm",
            attention_norm="self_attn_layer_norm",
            mlp_norm="final_layer_norm",
            qkv=tuple(f"self_attn.{name}" for name in heads),
            out="self_attn.out_proj",
            mlp_in=("fc1",),
            mlp_out="fc2",
        ),
        older(config, eps=1e-5, activation=config.activation_function, first_position=2),
    )


def gpt_neox(model: Any) -> tuple[Parts, Switches]:
    """Pythia: attention and MLP read the same stream, each through a norm of its own."""
    config = model.config
    return (
        Parts(
            blocks="gpt_neox.layers",
            embedding="gpt_neox.embed_in",
            final_norm="gpt_neox.final_layer_norm",
            qkv=("attention.query_key_value",),
            qkv_by_group=True,
            out="attention.dense",
            mlp_in=("mlp.dense_h_to_4h",),
            mlp_out="mlp.dense_4h_to_h",
        ),
        older(
            config,
            eps=config.layer_norm_eps,
            activation=config.hidden_act,
            parallel=config.use_parallel_residual,
            rotary=[rotary_tables(model.gpt_neox.rotary_emb)] * config.num_hidden_layers,
        ),
    )
