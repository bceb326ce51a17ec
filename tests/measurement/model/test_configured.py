"""What a configuration says is what loading does."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PretrainedConfig

from selfrepair_assets.measurement.engine.choose_engine import choose_engine
from selfrepair_assets.measurement.errors import InputError
from selfrepair_assets.measurement.model import models
from selfrepair_assets.measurement.model.configured import ConfiguredModel
from tests.benchmarks.families import REFUSED
from tests.helpers.models import families

MEASURED = ["gpt2", "gemma3", "olmo2", "cohere", "falcon_alibi", "nemotron_biases", "gpt_oss"]


def configured(config: PretrainedConfig, folder: Path) -> ConfiguredModel:
    config.save_pretrained(folder)
    return ConfiguredModel.find(str(folder), device="cpu")


def of_family(name: str, folder: Path) -> ConfiguredModel:
    config = (families.ALL | families.EXPERTS)[name]()
    config.architectures = [type(families.random_model(name)).__name__]  # as with its weights
    return configured(config, folder)


@pytest.mark.parametrize("name", MEASURED)
def test_the_way_is_the_one_that_loading_takes(name: str, tmp_path: Path) -> None:
    found = of_family(name, tmp_path / "configuration")
    loaded = models.load_model(str(families.save(name, tmp_path / "model")), device="cpu")
    thin, whole = found.thin(2), found.whole()
    assert thin.hooked_because == loaded.hooked_because
    assert (whole is None) == (loaded.folded is None)
    assert choose_engine(thin).name == choose_engine(loaded).name
    assert thin.n_layers == 2
    for name_of in ("n_heads", "d_model", "d_mlp", "normalization", "parallel_attention"):
        assert getattr(thin, name_of) == getattr(loaded, name_of), name_of
    source = getattr(loaded.source, "original_model", loaded.source)
    assert found.n_parameters == sum(p.numel() for p in source.parameters())


@pytest.mark.parametrize("name", [*families.FAMILIES, *families.VARIANTS, *families.MODERN])
def test_the_whole_model_without_memory_has_the_sizes_of_the_real_one(
    name: str, tmp_path: Path
) -> None:
    found = of_family(name, tmp_path).whole()
    assert found is not None
    assert found.folded is not None
    real = models.read_by_family(families.random_model(name), **found_about(found))
    assert real.folded is not None
    sizes = [[tuple(t.shape) for t in m.folded.tensors()] for m in (found, real)]  # type: ignore
    assert sizes[0] == sizes[1]
    assert {t.device.type for t in found.folded.tensors()} == {"meta"}
    none: dict[str, Any] = dict.fromkeys(("source", "tokenizer", "folded", "n_ctx"))
    assert replace(found, **none) == replace(real, **none)


def found_about(found: models.LoadedModel) -> dict[str, Any]:
    names = ("tokenizer", "name", "commit", "architecture", "device", "center_unembed")
    return {name: getattr(found, name) for name in names}


def test_a_variant_that_is_not_read_is_named(tmp_path: Path) -> None:
    config: Any = families.MODERN["olmo"]()
    config.clip_qkv, config.architectures = 8.0, ["OlmoForCausalLM"]
    found = configured(config, tmp_path)
    assert found.whole() is None
    assert found.thin(1).hooked_because == "OLMo with clipped queries, keys and values"


REASONS = {
    "t5": "not a decoder-only",
    "ctrl": "does not know the arch",
    "rwkv": "does not know the arch",
    "mamba": "no attention heads",
    "opt_projected": "no final norm",
}


def test_every_refused_family_has_its_reason() -> None:
    assert REASONS.keys() == REFUSED.keys()


@pytest.mark.parametrize("name", REASONS)
def test_refused_for_its_true_cause(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=REASONS[name]):
        choose_engine(configured(REFUSED[name][1], tmp_path).thin(1))


@pytest.mark.parametrize("scaled", [True, False])
def test_a_switch_that_the_bridge_ignores_is_read(scaled: bool, tmp_path: Path) -> None:
    """TransformerLens scales the attention all the same; a bridge around it is refused."""
    model = families.random_model("gpt2")
    model.config.scale_attn_weights = scaled
    model.save_pretrained(tmp_path)
    families.character_tokenizer(prepend_bos=False).save_pretrained(tmp_path)
    loaded = models.load_model(str(tmp_path))
    assert loaded.folded is not None
    assert loaded.folded.attention_scale == (8**-0.5 if scaled else 1.0)
    if not scaled:
        with pytest.raises(InputError, match="computes other logits"):
            loaded.bridge  # noqa: B018


def test_a_thin_model_has_few_tokens_and_runs(tmp_path: Path) -> None:
    config: Any = families.ALL["gemma2"]()
    config.vocab_size, config.pad_token_id = 5000, 4000
    config.architectures = ["Gemma2ForCausalLM"]
    thin = configured(config, tmp_path).thin(2)
    assert (thin.d_vocab, thin.source.config.layer_types) == (512, config.layer_types[:2])
    assert torch.isfinite(thin.logits(torch.arange(8)[None])).all()
