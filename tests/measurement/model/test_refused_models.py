"""Configurations that would be measured wrongly are refused, with one clear line."""

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, GPT2Config, OPTConfig, PretrainedConfig

from selfrepair_assets.measurement.errors import InputError
from selfrepair_assets.measurement.model.models import load_model
from tests.helpers.models.families import D_VOCAB, character_tokenizer

TOKENS: dict[str, Any] = {"vocab_size": D_VOCAB, "bos_token_id": 0, "eos_token_id": 1}
GPT2: dict[str, Any] = {"n_layer": 2, "n_head": 4, "n_embd": 32, "n_positions": 64, **TOKENS}
OPT: dict[str, Any] = {
    "num_hidden_layers": 2,
    "hidden_size": 32,
    "ffn_dim": 64,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    **TOKENS,
}


def saved(config: PretrainedConfig, folder: Path) -> Path:
    model = AutoModelForCausalLM.from_config(config)
    for parameter in model.parameters():
        parameter.data.normal_(0, 0.2)
    model.save_pretrained(folder)
    character_tokenizer(prepend_bos=False).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (OPTConfig(word_embed_proj_dim=16, do_layer_norm_before=False, **OPT), "no final norm"),
    ],
)
def test_refused(config: PretrainedConfig, reason: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=reason):
        load_model(str(saved(config, tmp_path)))


@pytest.mark.parametrize("scaled", [True, False])
def test_a_switch_that_the_bridge_ignores_is_read(scaled: bool, tmp_path: Path) -> None:
    """TransformerLens scales the attention all the same; a bridge around it is refused."""
    config = GPT2Config(scale_attn_weights=scaled, **GPT2)
    loaded = load_model(str(saved(config, tmp_path)))
    assert loaded.folded is not None
    assert loaded.folded.attention_scale == (8**-0.5 if scaled else 1.0)
    if not scaled:
        with pytest.raises(InputError, match="computes other logits"):
            loaded.bridge  # noqa: B018
